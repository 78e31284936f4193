-- Activations that a job kept.
insert into activations (key, dataset_id, dataset_version, blob, bytes, used_at)
values ('2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683', 'ds_019ab3c4d5e67f8091a2b3c4d5e60001', 1, 'c66216036ea9c9f5b370a391ccabb720191ad412f5dd8461637ce0a2428133f0', 100, 1763900009000);
