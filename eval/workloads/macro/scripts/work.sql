-- SPDX-License-Identifier: GPL-2.0-or-later
-- What a small database does. @n is a percentage of 60,000 rows.
PRAGMA journal_mode = DELETE;
CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT, town INTEGER, born INTEGER);
CREATE TABLE town(id INTEGER PRIMARY KEY, name TEXT);
BEGIN;
WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 200)
INSERT INTO town SELECT i, 'town ' || (i * 7919 % 1009) FROM c;
WITH RECURSIVE c(i, x) AS (SELECT 1, 12345 UNION ALL SELECT i + 1, (x * 1103515245 + 12345) % 2147483648 FROM c WHERE i < 600 * @n)
INSERT INTO person SELECT i, 'name ' || (x % 50021), 1 + (x / 65536) % 200, 1900 + (x / 256) % 120 FROM c;
COMMIT;
CREATE INDEX person_name ON person(name);
CREATE INDEX person_town ON person(town, born);
SELECT t.name, count(*), min(p.born), max(p.name) FROM person p JOIN town t ON t.id = p.town GROUP BY t.id HAVING count(*) > 2 ORDER BY 2 DESC, t.id LIMIT 20;
SELECT count(*), sum(length(name)) FROM person WHERE name LIKE '%77%';
BEGIN;
UPDATE person SET born = born + 1 WHERE town % 3 = 0;
DELETE FROM person WHERE name BETWEEN 'name 2' AND 'name 3';
COMMIT;
SELECT a.name, b.born - a.born FROM person a JOIN person b ON a.name = b.name AND a.id < b.id WHERE a.town = 17 ORDER BY a.id, b.id LIMIT 30;
SELECT count(*), sum(born), sum(id) FROM person;
VACUUM;
PRAGMA integrity_check;
