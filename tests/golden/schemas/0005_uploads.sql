-- An upload that is not complete.
insert into uploads (id, name, metadata, status, bytes, received, created_at, expires_at)
values ('upl_019ab3c4d5e67f8091a2b3c4d5e60031', 'coming', 'filename Y29taW5nLnppcA==', 'receiving', 100, 40, 1763900000000, 1763986400000);
