-- The SHA-256 of each file of content as it is on the disk, in hexadecimal, so that damage is found that can be unpacked;
-- NULL in files of before.
ALTER TABLE body_file ADD COLUMN sha256 VARCHAR;
ALTER TABLE part_file ADD COLUMN sha256 VARCHAR;
ALTER TABLE said_file ADD COLUMN sha256 VARCHAR;
