-- The `traceparent` of the request that submitted a job, so that its attempts can name the trace.
alter table jobs add column trace_parent text;
