-- The registry: models that come from elsewhere, texts that people keep with models, and aliases.

-- A model need not come from a job any more, and SQLite cannot take `not null` away from a column.
create table registered (
    id text primary key,
    name text not null,
    version integer not null,
    -- trained | imported
    source text not null,
    -- one model per job, whatever happens; null for what was imported
    job_id text unique,
    -- JSON: {format, sha256, bytes, file_name}; null for what a job made
    imported_from text,
    created_at bigint not null,
    -- of model.safetensors, which is the blob of that name
    sha256 text not null,
    bytes bigint not null,
    card_blob text not null,
    -- JSON: what is in model.json
    card text not null,
    -- digest of evaluation.json; null where nothing was there to measure on
    evaluation_blob text,
    -- JSON: {key: text}
    metadata text not null,
    unique (name, version)
);

insert into registered (id, name, version, source, job_id, created_at, sha256, bytes, card_blob, card, evaluation_blob, metadata)
select id, name, version, 'trained', job_id, created_at, sha256, bytes, card_blob, card, evaluation_blob, '{}'
from models;

drop table models;
alter table registered rename to models;

create table aliases (
    name text primary key,
    -- a model that an alias names is not deleted
    model_id text not null references models (id),
    -- grows with every move
    revision integer not null,
    created_at bigint not null,
    moved_at bigint not null
);

-- asked with every model, and by everything that would delete one
create index aliases_model on aliases (model_id);

-- What an alias named before: a stack, which rollbacks take from.
create table alias_history (
    alias text not null references aliases (name) on delete cascade,
    -- of the alias, when it began to name the model
    revision integer not null,
    model_id text not null references models (id) on delete cascade,
    moved_at bigint not null,
    primary key (alias, revision)
);

create index alias_history_model on alias_history (model_id);

-- Revisions are never used twice, also after the alias was deleted: who has seen one has seen what it named.
create table alias_names (
    name text primary key,
    last_revision integer not null
);
