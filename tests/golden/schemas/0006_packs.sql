-- Pixels that a job packed.
insert into packs (dataset_id, blob, side, brought_up, bytes, used_at)
values ('ds_019ab3c4d5e67f8091a2b3c4d5e60001', '39605db19d3f1ffa0e28e345656b85583a424e8ba3dca86c7d52a5c82da94ca5', 128, 1, 50, 1763900000000);
