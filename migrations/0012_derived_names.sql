-- Whether an upload's name was derived from a file name, and not chosen: then its dataset takes another name where that one is taken.
alter table uploads add column name_is_derived integer not null default 0;
