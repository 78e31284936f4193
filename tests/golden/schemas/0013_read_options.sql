-- How an archive was read.
update datasets set options = '{}' where id = 'ds_019ab3c4d5e67f8091a2b3c4d5e60001';
