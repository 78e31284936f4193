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
