-- Rows for each released migration, as the program of then wrote them: inserted after it, they go through all later ones.

--- 0001_start
-- A dataset that was read and one that was not, a job that made a model, one that failed, one in the queue.
insert into datasets (id, name, status, version, created_at, sha256, bytes, attempt, images, classes, splits, layout, report, manifest_blob, images_blob, pack_blob, pack_side, report_blob)
values ('ds_019ab3c4d5e67f8091a2b3c4d5e60001', 'flowers', 'ready', 1, 1763900000000, '0eb3e36bfb24dcd9bb1d1bece1531216b59539a8fde17ee80224af0653c92aa3', 7, 1, 20, '[{"name": "ants", "index": 0, "images": 10}, {"name": "bees", "index": 1, "images": 10}]', '{"train": 20, "val": 0, "test": 0}', '"flat"', '{"used": 20, "skipped": 0, "ignored": 1, "duplicates": 0, "leaks": 0, "warnings": []}', '05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f', '21b2eed1e328a2c62fe4c17d51188bdea73450f29956dc5c8c95429313ddd72c', '4862f447f2c7f272fa2f4aaf89dadb3b1ac09105bd5864f8d1a0c9452bb0a226', 256, '845e91831319e89c4d656bdb80c278ac09a7230d61e5dfd2e1b1fbb436ac8917');
insert into datasets (id, name, status, version, created_at, sha256, bytes, attempt, images, classes, splits, error)
values ('ds_019ab3c4d5e67f8091a2b3c4d5e60002', 'broken', 'failed', 1, 1763900000001, 'f526795c95399cea27c055c842c3d6ab018ed0fa4f66f701c28ab22dec28237b', 3, 1, 0, '[]', '{"train": 0, "val": 0, "test": 0}', '{"code": "no_images", "message": "the archive has no images"}');
insert into jobs (id, kind, name, status, spec, dataset_id, dataset_version, device_choice, priority, max_attempts, not_before, created_at, attempt, deaths, milliseconds_used, cancel_requested, started_at, finished_at, device, model_id, best, stop_reason, progress)
values ('job_019ab3c4d5e67f8091a2b3c4d5e60011', 'train', 'flowers-resnet18', 'succeeded', '{"kind": "train", "name": null, "dataset": "ds_019ab3c4d5e67f8091a2b3c4d5e60001", "metadata": {"team": "garden"}, "backbone": {"architecture": "resnet18", "weights": "imagenet"}, "freeze": {"until": "layer3"}, "image": {"size": 224, "resize": "shortest_crop"}, "augment": {"horizontal_flip": true}, "split": {"val": 0.2, "test": 0.0, "seed": 0}, "epochs": 2, "batch_size": 32, "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9, "nesterov": false, "weight_decay": 0.0001, "backbone_lr_multiplier": 1.0}, "device": "auto", "seed": 7, "priority": 0, "max_seconds": null, "max_attempts": 3}', 'ds_019ab3c4d5e67f8091a2b3c4d5e60001', 1, 'auto', 0, 3, 0, 1763900002000, 1, 0, 0, 0, 1763900003000, 1763900009000, 'cpu', 'mdl_019ab3c4d5e67f8091a2b3c4d5e60021', '{"epoch": 2, "val_loss": 0.25, "val_accuracy": 0.875}', '"completed"', '{"epoch": 2, "epochs": 2, "step": 2, "steps": 2, "images_per_second": 12.5, "eta_seconds": 0.0}');
insert into jobs (id, kind, name, status, spec, dataset_id, dataset_version, device_choice, priority, max_attempts, not_before, created_at, attempt, deaths, milliseconds_used, cancel_requested, started_at, finished_at, error)
values ('job_019ab3c4d5e67f8091a2b3c4d5e60012', 'train', 'flowers-resnet18', 'failed', '{"kind": "train", "name": null, "dataset": "ds_019ab3c4d5e67f8091a2b3c4d5e60001", "metadata": {"team": "garden"}, "backbone": {"architecture": "resnet18", "weights": "imagenet"}, "freeze": {"until": "layer3"}, "image": {"size": 224, "resize": "shortest_crop"}, "augment": {"horizontal_flip": true}, "split": {"val": 0.2, "test": 0.0, "seed": 0}, "epochs": 2, "batch_size": 32, "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9, "nesterov": false, "weight_decay": 0.0001, "backbone_lr_multiplier": 1.0}, "device": "auto", "seed": 7, "priority": 0, "max_seconds": null, "max_attempts": 3}', 'ds_019ab3c4d5e67f8091a2b3c4d5e60001', 1, 'auto', 0, 3, 0, 1763900002001, 1, 0, 0, 0, 1763900003001, 1763900009001, '{"code": "out_of_memory", "message": "the device has too little memory"}');
insert into jobs (id, kind, name, status, spec, dataset_id, dataset_version, device_choice, priority, max_attempts, not_before, created_at, attempt, deaths, milliseconds_used, cancel_requested)
values ('job_019ab3c4d5e67f8091a2b3c4d5e60013', 'train', 'flowers-resnet18', 'queued', '{"kind": "train", "name": null, "dataset": "ds_019ab3c4d5e67f8091a2b3c4d5e60001", "metadata": {"team": "garden"}, "backbone": {"architecture": "resnet18", "weights": "imagenet"}, "freeze": {"until": "layer3"}, "image": {"size": 224, "resize": "shortest_crop"}, "augment": {"horizontal_flip": true}, "split": {"val": 0.2, "test": 0.0, "seed": 0}, "epochs": 2, "batch_size": 32, "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9, "nesterov": false, "weight_decay": 0.0001, "backbone_lr_multiplier": 1.0}, "device": "auto", "seed": 7, "priority": 0, "max_seconds": null, "max_attempts": 3}', 'ds_019ab3c4d5e67f8091a2b3c4d5e60001', 1, 'auto', 0, 3, 0, 1763900002002, 0, 0, 0, 0);
insert into events (job_id, seq, kind, created_at, data)
values ('job_019ab3c4d5e67f8091a2b3c4d5e60011', 1, 'status', 1763900003000, '{"status": "running", "attempt": 1, "device": "cpu", "reason": null}');
insert into events (job_id, seq, kind, created_at, data)
values ('job_019ab3c4d5e67f8091a2b3c4d5e60011', 2, 'step', 1763900003001, '{"step": 1, "epoch": 1, "train_loss": 0.7, "lr": 0.01, "images_per_second": 12.5}');
insert into events (job_id, seq, kind, created_at, data)
values ('job_019ab3c4d5e67f8091a2b3c4d5e60011', 3, 'epoch', 1763900003002, '{"epoch": 1, "step": 1, "train_loss": 0.7, "train_accuracy": 0.5, "val_loss": 0.5, "val_accuracy": 0.5, "lr": 0.01, "seconds": 1.5, "data_wait": 0.1, "best": true}');
insert into events (job_id, seq, kind, created_at, data)
values ('job_019ab3c4d5e67f8091a2b3c4d5e60011', 4, 'end', 1763900003003, '{"status": "succeeded", "model": "mdl_019ab3c4d5e67f8091a2b3c4d5e60021", "error": null}');
insert into models (id, name, version, job_id, created_at, sha256, bytes, card_blob, card)
values ('mdl_019ab3c4d5e67f8091a2b3c4d5e60021', 'flowers-resnet18', 1, 'job_019ab3c4d5e67f8091a2b3c4d5e60011', 1763900009000, '9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c', 9, '8367cd66fdd136bba8ba23f8805bb050dd6289401c8ec3b0be44a3c233eef90d', '{"format": 1, "architecture": "resnet18", "classes": ["ants", "bees"], "preprocessing": {"resize": "shortest_crop", "resize_to": 256, "crop": 224, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}, "spec": {"kind": "train", "name": null, "dataset": "ds_019ab3c4d5e67f8091a2b3c4d5e60001", "metadata": {"team": "garden"}, "backbone": {"architecture": "resnet18", "weights": "imagenet"}, "freeze": {"until": "layer3"}, "image": {"size": 224, "resize": "shortest_crop"}, "augment": {"horizontal_flip": true}, "split": {"val": 0.2, "test": 0.0, "seed": 0}, "epochs": 2, "batch_size": 32, "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9, "nesterov": false, "weight_decay": 0.0001, "backbone_lr_multiplier": 1.0}, "device": "auto", "seed": 7, "priority": 0, "max_seconds": null, "max_attempts": 3}, "metrics": {"epoch": 2, "train_loss": 0.5, "train_accuracy": 0.75, "val_loss": 0.25, "val_accuracy": 0.875, "train_images": 16, "val_images": 4}, "dataset": {"id": "ds_019ab3c4d5e67f8091a2b3c4d5e60001", "name": "flowers", "version": 1, "sha256": "0eb3e36bfb24dcd9bb1d1bece1531216b59539a8fde17ee80224af0653c92aa3"}, "base_weights": "timm/resnet18.tv_in1k@main", "program": "0.1.0", "libtorch": "2.11.0"}');
insert into model_names (name, last_version)
values ('flowers-resnet18', 1);
insert into idempotency_keys (idempotency_key, sha256, job_id, created_at)
values ('once', '230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5', 'job_019ab3c4d5e67f8091a2b3c4d5e60011', 1763900002000);

--- 0002_activations
-- Activations that a job kept.
insert into activations (key, dataset_id, dataset_version, blob, bytes, used_at)
values ('2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683', 'ds_019ab3c4d5e67f8091a2b3c4d5e60001', 1, 'c66216036ea9c9f5b370a391ccabb720191ad412f5dd8461637ce0a2428133f0', 100, 1763900009000);

--- 0003_results
-- The evaluation of a job and of its model.
update jobs set result_blob = 'efe77b201dc216c0edf435a227df2b2898d3f6ea1ff16e5d4d0d4ec0cf593271' where id = 'job_019ab3c4d5e67f8091a2b3c4d5e60011';
update models set evaluation_blob = 'efe77b201dc216c0edf435a227df2b2898d3f6ea1ff16e5d4d0d4ec0cf593271' where id = 'mdl_019ab3c4d5e67f8091a2b3c4d5e60021';

--- 0004_dataset_versions
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

--- 0005_uploads
-- An upload that is not complete.
insert into uploads (id, name, metadata, status, bytes, received, created_at, expires_at)
values ('upl_019ab3c4d5e67f8091a2b3c4d5e60031', 'coming', 'filename Y29taW5nLnppcA==', 'receiving', 100, 40, 1763900000000, 1763986400000);

--- 0006_packs
-- Pixels that a job packed.
insert into packs (dataset_id, blob, side, brought_up, bytes, used_at)
values ('ds_019ab3c4d5e67f8091a2b3c4d5e60001', '39605db19d3f1ffa0e28e345656b85583a424e8ba3dca86c7d52a5c82da94ca5', 128, 1, 50, 1763900000000);

--- 0007_registry
-- An imported model, and an alias that was moved.
insert into models (id, name, version, source, imported_from, created_at, sha256, bytes, card_blob, card, metadata)
values ('mdl_019ab3c4d5e67f8091a2b3c4d5e60022', 'imported', 1, 'imported', '{"format": "safetensors", "sha256": "3b9c358f36f0a31b6ad3e14f309c7cf198ac9246e8316f9ce543d5b19ac02b80", "bytes": 9, "file_name": "resnet18.safetensors"}', 1763900011000, '5f54227b74fbba7743c47cd286b4873f2e17331518d56facfc03e34cde4a0950', 9, '43772a642995fa37de08a408ee0beb5689473086935adaee3a70c946ccd69e86', '{"format": 1, "architecture": "resnet18", "classes": ["ants", "bees"], "preprocessing": {"resize": "shortest_crop", "resize_to": 256, "crop": 224, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}, "spec": null, "metrics": null, "dataset": null, "base_weights": "imported", "program": "0.1.0", "libtorch": "2.11.0"}', '{}');
insert into model_names (name, last_version)
values ('imported', 1);
insert into aliases (name, model_id, revision, created_at, moved_at)
values ('production', 'mdl_019ab3c4d5e67f8091a2b3c4d5e60022', 2, 1763900000000, 1763900012000);
insert into alias_history (alias, revision, model_id, moved_at)
values ('production', 1, 'mdl_019ab3c4d5e67f8091a2b3c4d5e60021', 1763900000000);
insert into alias_names (name, last_revision)
values ('production', 2);

--- 0008_predictions
-- The second file of predictions.
update jobs set csv_blob = '53bb9b0b38ac812554abeb88ea6d56760d07ec147a75e8761c4f57ecc298218f' where id = 'job_019ab3c4d5e67f8091a2b3c4d5e60012';

--- 0009_segment_packs
-- A pack that was evicted.
update segments set pack_bytes = 70, pack_used_at = 1763900000000, pack_gone = 1 where dataset_id = 'ds_019ab3c4d5e67f8091a2b3c4d5e60001' and number = 1;

--- 0010_data_directory
-- An identity, and a blob that was let go.
insert into data_directory (one, id, generation, mark, mark_before)
values (1, '019ab3c4d5e67f8091a2b3c4d5e6f708', 3, 'c', 'b');
insert into released_blobs (sha256, is_cache)
values ('283bb9deef02e6843abfb538efa1eca70801bd8a701c3f98191e123496339247', 0);

--- 0011_dataset_deaths
-- An archive that killed its reader.
update datasets set deaths = 2 where id = 'ds_019ab3c4d5e67f8091a2b3c4d5e60002';

--- 0012_derived_names
-- An upload with a derived name.
insert into uploads (id, name, metadata, status, bytes, received, sha256, created_at, expires_at, name_is_derived)
values ('upl_019ab3c4d5e67f8091a2b3c4d5e60032', 'derived', '', 'finishing', 10, 10, 'ff4085ad157354dc8ea67a848e7c2270b4a19282713cf3a7ecf8e0ffbb159ed1', 1763900000000, 1763986400000, 1);

--- 0013_read_options
-- How an archive was read.
update datasets set options = '{}' where id = 'ds_019ab3c4d5e67f8091a2b3c4d5e60001';

--- 0014_pack_interpolation
-- A bicubic pack.
insert into packs (dataset_id, blob, side, brought_up, bytes, used_at, bicubic)
values ('ds_019ab3c4d5e67f8091a2b3c4d5e60001', '1a6198802fb94f0d133d6e30876fbffe87cbefd851da8f9e15b2a92d62f8bbcb', 224, 0, 50, 1763900000000, 1);

--- 0015_keys
-- A key.
insert into keys (id, name, digest, scopes, datasets, created_at, last_used_at)
values ('key_019ab3c4d5e67f8091a2b3c4d5e60041', 'camera-7', '13b6cfeff382ae9ca6f52c59f951fac3501f712d33855ee107aa78d8e0b59168', '["read", "predict"]', '["flowers"]', 1763900000000, 1763900000001);
update key_changes set revision = 1 where one = 1;

--- 0016_owners
-- Things that the key owns.
update datasets set owner_id = 'key_019ab3c4d5e67f8091a2b3c4d5e60041', owner_name = 'camera-7';
update jobs set owner_id = 'key_019ab3c4d5e67f8091a2b3c4d5e60041', owner_name = 'camera-7';
update models set owner_id = 'key_019ab3c4d5e67f8091a2b3c4d5e60041', owner_name = 'camera-7';

--- 0017_quotas
-- A quota.
update keys set max_bytes = 1000, max_running_jobs = 1;
update datasets set added_bytes = 5 where id = 'ds_019ab3c4d5e67f8091a2b3c4d5e60001';

--- 0018_turns
-- A turn in the queue.
insert into queue_turns (owner, turn)
values ('camera-7', 4);

--- 0019_audit
-- A record of the audit log.
insert into audit (id, at, method, route, status, address, skipped)
values ('aud_019ab3c4d5e67f8091a2b3c4d5e60051', 1763900000000, 'DELETE', '/v1/jobs/{job}', 204, '127.0.0.1', 0);

--- 0020_several_labels
-- A version with several labels.
update dataset_versions set several_labels = 3 where dataset_id = 'ds_019ab3c4d5e67f8091a2b3c4d5e60001' and version = 2;

--- 0021_adapters
-- A model that is an adapter.
update models set base_blob = 'cae662172fd450bb0cd710a769079c05bfc5d8e35efa6576edc7d0377afdd4a2', base_bytes = 90 where id = 'mdl_019ab3c4d5e67f8091a2b3c4d5e60021';
