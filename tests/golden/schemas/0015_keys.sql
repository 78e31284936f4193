-- A key.
insert into keys (id, name, digest, scopes, datasets, created_at, last_used_at)
values ('key_019ab3c4d5e67f8091a2b3c4d5e60041', 'camera-7', '13b6cfeff382ae9ca6f52c59f951fac3501f712d33855ee107aa78d8e0b59168', '["read", "predict"]', '["flowers"]', 1763900000000, 1763900000001);
update key_changes set revision = 1 where one = 1;
