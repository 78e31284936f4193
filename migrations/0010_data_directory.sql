-- A data directory knows itself: what is here is written in a file beside the database too, and a start compares the two before it
-- removes anything. So a database that is older than the files, or that is of another directory, is noticed.
create table data_directory (
    -- there is one row
    one integer primary key check (one = 1),
    -- drawn once
    id text not null,
    -- moves on with every start, and soon after files were added or taken away
    generation bigint not null,
    -- drawn anew with every generation: two copies of a directory that went their own ways count alike and differ in this
    mark text not null,
    -- of the generation before: the file is written after the database, and a crash may come between; null in the first
    mark_before text
);

-- Blobs that rows named until an act of ours let them go. The sweeper takes what is listed here; what nothing names and nobody let go is
-- a sign that the database is not that of these files.
create table released_blobs (
    sha256 text primary key,
    -- 1 where it can be made again: then it goes at once, and not after a time of grace
    is_cache integer not null
);
