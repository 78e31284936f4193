-- A bicubic pack.
insert into packs (dataset_id, blob, side, brought_up, bytes, used_at, bicubic)
values ('ds_019ab3c4d5e67f8091a2b3c4d5e60001', '1a6198802fb94f0d133d6e30876fbffe87cbefd851da8f9e15b2a92d62f8bbcb', 224, 0, 50, 1763900000000, 1);
