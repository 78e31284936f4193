-- An upload with a derived name.
insert into uploads (id, name, metadata, status, bytes, received, sha256, created_at, expires_at, name_is_derived)
values ('upl_019ab3c4d5e67f8091a2b3c4d5e60032', 'derived', '', 'finishing', 10, 10, 'ff4085ad157354dc8ea67a848e7c2270b4a19282713cf3a7ecf8e0ffbb159ed1', 1763900000000, 1763986400000, 1);
