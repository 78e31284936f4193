-- What a key may take up at most; null: as much as the server has.
alter table keys add column max_bytes bigint;
alter table keys add column max_queued_jobs bigint;
alter table keys add column max_running_jobs bigint;
alter table keys add column max_requests_per_second bigint;

-- Asked for with everything that an owner wants to have more of.
create index keys_of_name on keys (name);
create index datasets_owner on datasets (owner_name);
create index uploads_owner on uploads (owner_name);
create index models_owner on models (owner_name);
create index jobs_owner on jobs (owner_name, status);

-- Bytes of images that were added to a dataset after its archive. For datasets of before they are not known, and count as none.
alter table datasets add column added_bytes bigint not null default 0;
