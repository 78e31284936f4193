-- A version with several labels.
update dataset_versions set several_labels = 3 where dataset_id = 'ds_019ab3c4d5e67f8091a2b3c4d5e60001' and version = 2;
