-- Activations of frozen stages that a job left for later jobs over the same pictures. Nothing is lost with a row: they can be
-- computed again.
create table activations (
    -- digest of everything that they depend on
    key text primary key,
    dataset_id text not null,
    dataset_version integer not null,
    blob text not null,
    bytes bigint not null,
    -- the least recently used go first when there is too little room
    used_at bigint not null
);

-- asked by every job that starts
create index activations_dataset on activations (dataset_id, dataset_version);
