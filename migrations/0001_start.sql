-- Times are integer unix milliseconds, ids and digests text, structures JSON as text: what SQLite and PostgreSQL share.

create table datasets (
    id text primary key,
    name text not null,
    -- processing | ready | failed
    status text not null,
    version integer not null,
    created_at bigint not null,
    -- of the uploaded archive, which is the blob of that name
    sha256 text not null,
    bytes bigint not null,
    -- times that an ingest child was started, so that an archive that kills its reader is not read for ever
    attempt integer not null,
    images bigint not null,
    -- JSON: [{name, index, images}]
    classes text not null,
    -- JSON: {train, val, test}
    splits text not null,
    layout text,
    -- JSON summary; every entry is in the report blob
    report text,
    -- JSON: {code, message}
    error text,
    -- digests of what ingest made
    manifest_blob text,
    images_blob text,
    pack_blob text,
    pack_side integer,
    report_blob text
);

-- A failed dataset does not hold its name: the next upload of that name takes it.
create unique index datasets_name on datasets (name) where status <> 'failed';

create table jobs (
    id text primary key,
    kind text not null,
    -- of the model that it makes
    name text not null,
    -- queued | running | succeeded | failed | cancelled
    status text not null,
    -- JSON: the resolved spec
    spec text not null,
    -- no foreign key: an ended job outlives its dataset
    dataset_id text not null,
    dataset_version integer not null,
    -- auto | cpu | cuda:N, out of the spec, because claiming asks for it
    device_choice text not null,
    priority integer not null,
    max_attempts integer not null,
    -- a retry after a crash waits until then
    not_before bigint not null,
    created_at bigint not null,
    started_at bigint,
    finished_at bigint,
    -- times that a worker was started; every write of an attempt is guarded by it
    attempt integer not null,
    attempt_started_at bigint,
    -- attempts that died or hung; only these count against max_attempts
    deaths integer not null,
    -- by earlier attempts, for max_seconds
    milliseconds_used bigint not null,
    cancel_requested integer not null,
    device text,
    model_id text,
    -- JSON
    progress text,
    best text,
    stop_reason text,
    error text
);

create index jobs_queue on jobs (status, priority desc, id);
create index jobs_dataset on jobs (dataset_id, status);
create index jobs_name on jobs (name, id);

-- The event stream of each job. seq has no gaps: a reader that has seen n asks for what is above n.
create table events (
    job_id text not null references jobs (id) on delete cascade,
    seq bigint not null,
    kind text not null,
    created_at bigint not null,
    -- JSON
    data text not null,
    primary key (job_id, seq)
);

create table models (
    id text primary key,
    name text not null,
    version integer not null,
    -- one model per job, whatever happens
    job_id text not null unique,
    created_at bigint not null,
    -- of model.safetensors, which is the blob of that name
    sha256 text not null,
    bytes bigint not null,
    card_blob text not null,
    -- JSON: what is in model.json
    card text not null,
    unique (name, version)
);

-- Versions are never used twice, also after the newest model of a name was deleted.
create table model_names (
    name text primary key,
    last_version integer not null
);

-- What an Idempotency-Key stood for, for a day.
create table idempotency_keys (
    idempotency_key text primary key,
    -- of the request's body
    sha256 text not null,
    job_id text not null,
    created_at bigint not null
);
