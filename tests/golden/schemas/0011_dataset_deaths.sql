-- An archive that killed its reader.
update datasets set deaths = 2 where id = 'ds_019ab3c4d5e67f8091a2b3c4d5e60002';
