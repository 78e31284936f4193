-- A batch prediction leaves the same rows in two files. Those in JSON Lines are the job's result_blob.

-- digest of predictions.csv, which a sweep has to find without reading JSON
alter table jobs add column csv_blob text;

-- JSON: {href, images, errors, jsonl: {sha256, bytes}, csv: {sha256, bytes}}
alter table jobs add column predictions text;
