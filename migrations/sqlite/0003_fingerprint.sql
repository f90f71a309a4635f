-- What a marked store said of itself when it was met: a copy carries the same marker and says something else.
ALTER TABLE marked_store ADD COLUMN fingerprint TEXT;
