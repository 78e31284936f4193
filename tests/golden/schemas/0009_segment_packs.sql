-- A pack that was evicted.
update segments set pack_bytes = 70, pack_used_at = 1763900000000, pack_gone = 1 where dataset_id = 'ds_019ab3c4d5e67f8091a2b3c4d5e60001' and number = 1;
