PRAGMA cache_size = 500;
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, city TEXT, age INTEGER, note TEXT);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
INSERT INTO person
SELECT i, 'name' || (i * 7919 % 60000), 'city' || (i % 97), i * 31 % 90, hex(zeroblob(i % 60)) FROM n;
COMMIT;
CREATE INDEX by_name ON person (name);
CREATE INDEX by_city ON person (city, age);
SELECT count(*), sum(age), sum(length(note)) FROM person;
SELECT city, count(*), avg(age) FROM person GROUP BY city ORDER BY 2 DESC, 1 LIMIT 10;
SELECT a.name, b.city FROM person a JOIN person b ON a.name = 'name' || b.id WHERE b.age = 5
ORDER BY a.name LIMIT 20;
UPDATE person SET note = note || name WHERE age < 30;
DELETE FROM person WHERE id % 3 = 0;
SELECT count(*), sum(length(note)) FROM person;
SELECT group_concat(name) FROM (SELECT name FROM person WHERE city = 'city5' ORDER BY name LIMIT 40);
VACUUM;
PRAGMA integrity_check;
