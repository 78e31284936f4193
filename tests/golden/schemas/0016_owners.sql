-- Things that the key owns.
update datasets set owner_id = 'key_019ab3c4d5e67f8091a2b3c4d5e60041', owner_name = 'camera-7';
update jobs set owner_id = 'key_019ab3c4d5e67f8091a2b3c4d5e60041', owner_name = 'camera-7';
update models set owner_id = 'key_019ab3c4d5e67f8091a2b3c4d5e60041', owner_name = 'camera-7';
