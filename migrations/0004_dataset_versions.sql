-- A dataset is a row of versions. Each is immutable: a manifest that says which images it has, how each is labelled and in which part
-- it is. The image files themselves, and their pixels, lie in segments, which versions share: an image that is in two versions is
-- stored once, and a change of labels stores a manifest and nothing else.

-- what one ingest made: two files
create table segments (
    dataset_id text not null references datasets (id) on delete cascade,
    -- within the dataset, from 0: manifests name it
    number integer not null,
    -- that it came with: this version's manifest names every image in it
    version integer not null,
    images_blob text not null,
    pack_blob text not null,
    pack_side integer not null,
    primary key (dataset_id, number)
);

create table dataset_versions (
    dataset_id text not null references datasets (id) on delete cascade,
    version integer not null,
    created_at bigint not null,
    -- JSON: how it differs from the version before
    change text not null,
    images bigint not null,
    -- JSON: [{name, index, images, splits}]; `splits` is null like the digest
    classes text not null,
    -- JSON: {train, val, test}
    splits text not null,
    -- of what it holds; null in versions of before, until the server has read their manifests
    content_sha256 text,
    manifest_blob text not null,
    primary key (dataset_id, version)
);

-- which segments a version needs
create table version_segments (
    dataset_id text not null,
    version integer not null,
    segment integer not null,
    primary key (dataset_id, version, segment),
    foreign key (dataset_id, version) references dataset_versions (dataset_id, version) on delete cascade,
    foreign key (dataset_id, segment) references segments (dataset_id, number) on delete cascade
);

insert into segments (dataset_id, number, version, images_blob, pack_blob, pack_side)
select id, 0, version, images_blob, pack_blob, pack_side
from datasets
where status = 'ready';

insert into dataset_versions (dataset_id, version, created_at, change, images, classes, splits, manifest_blob)
select id, version, created_at,
    json_object('kind', 'upload', 'added', images, 'removed', 0, 'relabelled', 0, 'moved', 0),
    images, classes, splits, manifest_blob
from datasets
where status = 'ready';

insert into version_segments (dataset_id, version, segment)
select dataset_id, version, 0
from dataset_versions;

-- `datasets.version` is the newest one now. Ids of images are never given twice, so that an id means one image in all versions.
alter table datasets add column next_image bigint not null default 0;
update datasets set next_image = images where status = 'ready';

alter table datasets drop column images;
alter table datasets drop column classes;
alter table datasets drop column splits;
alter table datasets drop column manifest_blob;
alter table datasets drop column images_blob;
alter table datasets drop column pack_blob;
alter table datasets drop column pack_side;

-- of the version that a job is pinned to: it stays with the job when the dataset goes
alter table jobs add column dataset_sha256 text;
