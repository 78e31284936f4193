-- How many readers of an archive have died by themselves. `attempt` counts every start, also those that a killed server cut short, and an
-- archive is not given up for what happened to the server.
alter table datasets add column deaths integer not null default 0;
