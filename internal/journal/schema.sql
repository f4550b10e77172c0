CREATE TABLE records (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	at         TEXT    NOT NULL,
	service    TEXT    NOT NULL,
	deployment INTEGER NOT NULL,
	kind       TEXT    NOT NULL,
	data       TEXT,
	sum        INTEGER NOT NULL
) STRICT;

CREATE INDEX records_by_deployment ON records (service, deployment);

CREATE TRIGGER records_refuse_update BEFORE UPDATE ON records BEGIN
	SELECT RAISE(ABORT, 'the journal is append-only: a record is never changed');
END;

CREATE TRIGGER records_refuse_delete BEFORE DELETE ON records BEGIN
	SELECT RAISE(ABORT, 'the journal is append-only: a record is never deleted');
END;

-- INSERT OR REPLACE deletes without asking the trigger above.
CREATE TRIGGER records_refuse_replace BEFORE INSERT ON records
WHEN NEW.id <= (SELECT max(id) FROM records) BEGIN
	SELECT RAISE(ABORT, 'the journal is append-only: a record comes behind the last');
END;
