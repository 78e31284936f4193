-- When the events of single steps were removed from an ended job: its curves then begin with the epochs, and a reader is told why. Null: never.
alter table jobs add column events_pruned_at bigint;
