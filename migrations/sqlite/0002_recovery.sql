-- Placements whose store still has to be scrubbed: recorded before the first batch that needs it, so that a run that
-- dies in between leaves the debt and not just the bytes.
CREATE TABLE scrub_owed (
    placement TEXT NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Plans that a run made while it was under way, when something moved: its batches belong to steps of these too.
CREATE TABLE run_plan (
    run_id  TEXT NOT NULL REFERENCES run (run_id),
    plan_id TEXT NOT NULL REFERENCES plan (plan_id),
    PRIMARY KEY (run_id, plan_id)
) STRICT, WITHOUT ROWID;
