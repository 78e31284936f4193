-- A second version with a segment of its own.
insert into segments (dataset_id, number, version, images_blob, pack_blob, pack_side)
values ('ds_019ab3c4d5e67f8091a2b3c4d5e60001', 1, 2, 'f55f8f546af09c4eb18fda84e09f15463d0dc5a54d2d7d63e16aa3f322e65878', '885d1cb8b13fda1c5639f283815cc61320afeac4e5736ce80dca3760c6bcbca5', 256);
insert into dataset_versions (dataset_id, version, created_at, change, images, classes, splits, content_sha256, manifest_blob)
values ('ds_019ab3c4d5e67f8091a2b3c4d5e60001', 2, 1763900010000, '{"kind": "add", "added": 1, "removed": 0, "relabelled": 0, "moved": 0}', 21, '[{"name": "ants", "index": 0, "images": 11, "splits": {"train": 11, "val": 0, "test": 0}}, {"name": "bees", "index": 1, "images": 10, "splits": {"train": 10, "val": 0, "test": 0}}]', '{"train": 21, "val": 0, "test": 0}', '9597d898814f165b7ed6118722c24271fec8c1254d46e437ad6ab24050763e2d', 'bedbe217a47cf0b6f225dd3e539a0a1115cff37fd2a84355b41d4db8f0962fdb');
insert into version_segments (dataset_id, version, segment)
values ('ds_019ab3c4d5e67f8091a2b3c4d5e60001', 2, 0);
insert into version_segments (dataset_id, version, segment)
values ('ds_019ab3c4d5e67f8091a2b3c4d5e60001', 2, 1);
update datasets set version = 2, next_image = 21 where id = 'ds_019ab3c4d5e67f8091a2b3c4d5e60001';
