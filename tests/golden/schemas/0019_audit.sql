-- A record of the audit log.
insert into audit (id, at, method, route, status, address, skipped)
values ('aud_019ab3c4d5e67f8091a2b3c4d5e60051', 1763900000000, 'DELETE', '/v1/jobs/{job}', 204, '127.0.0.1', 0);
