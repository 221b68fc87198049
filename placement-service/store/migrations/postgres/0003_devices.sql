-- What the service keeps about browsers that have logged in to the account before.
ALTER TABLE accounts ADD COLUMN devices TEXT NOT NULL DEFAULT '';
