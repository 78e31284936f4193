-- Addresses that are told how jobs and datasets ended. A webhook's secret is not here: it is made of a key in the data directory and of the
-- webhook's id, so that a copy of the database signs nothing.
create table webhooks (
    id text primary key,
    url text not null,
    -- JSON: the events that it wants
    events text not null,
    description text,
    created_at bigint not null,
    -- counts the secrets that it has had
    secret_number bigint not null,
    -- SHA-256 of its secret, in hexadecimal: a server that has another key notices it before it signs with another secret
    secret_digest text not null,
    -- until then what is sent is signed with the secret before as well; null: there was none, or its time is up
    old_secret_until bigint,
    -- null: it is enabled; or why it is not: paused, gone, failing
    disabled_reason text,
    -- since when every attempt has failed; null: the last one did not
    failing_since bigint
);

-- What is to be told, and how that went: written with what it tells of, in one transaction, so that neither is there without the other.
create table webhook_deliveries (
    -- the same at every attempt, so that a receiver can tell a repetition
    id text primary key,
    webhook_id text not null references webhooks (id) on delete cascade,
    event text not null,
    -- JSON, as it is sent, to the byte
    payload text not null,
    -- pending, delivered, failed
    status text not null,
    created_at bigint not null,
    -- null unless pending
    next_attempt_at bigint,
    -- JSON: the attempts so far, a few at most
    attempts text not null,
    -- why it has failed without an attempt being the reason
    error text,
    -- null while pending
    ended_at bigint
);

create index webhook_deliveries_due on webhook_deliveries (next_attempt_at) where status = 'pending';
create index webhook_deliveries_webhook on webhook_deliveries (webhook_id, id);
create index webhook_deliveries_ended on webhook_deliveries (ended_at) where status <> 'pending';

-- There is a row while jobs are to be logged to MLflow.
create table mlflow_use (
    one integer primary key check (one = 1)
);

-- Ended jobs that MLflow is still to be told of, written down in the transaction that ended them.
create table mlflow_jobs (
    job_id text primary key references jobs (id) on delete cascade,
    -- those that failed
    attempts bigint not null,
    next_attempt_at bigint not null
);
