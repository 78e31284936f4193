-- Images of a version with several labels, or with none of the classes.
alter table dataset_versions add column several_labels bigint not null default 0;
