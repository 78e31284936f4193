-- Pixels of images at sizes that jobs asked for; those at the size that ingest packs are part of their segments. Nothing is lost with a
-- row: they can be packed again.
create table packs (
    dataset_id text not null references datasets (id) on delete cascade,
    blob text not null,
    -- length of the shorter side of its pictures
    side integer not null,
    -- whether smaller pictures were brought up to it
    brought_up integer not null,
    bytes bigint not null,
    -- the least recently used go first when there is too little room
    used_at bigint not null,
    primary key (dataset_id, blob)
);
