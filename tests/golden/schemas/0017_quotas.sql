-- A quota.
update keys set max_bytes = 1000, max_running_jobs = 1;
update datasets set added_bytes = 5 where id = 'ds_019ab3c4d5e67f8091a2b3c4d5e60001';
