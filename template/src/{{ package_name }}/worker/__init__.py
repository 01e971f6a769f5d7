"""Workers: processes that execute the runs which others have accepted. The queue is procrastinate, in the project's
own PostgreSQL; `queue` makes the jobs, `process` is a worker.

A job is only a knock on the door. It carries a run's id, and is made in the transaction that makes the run ready. What
becomes of the run is decided by the ledger alone: a job whose run is not queued any more does nothing, a lost one is
made again, one too many does no harm. So nothing here asks procrastinate to lock, retry, abort or order anything, and
most of what is known to go wrong with it cannot. Its thirteen pitfalls, each seen in 3.10:

 1. Its LISTEN fails on a pool that was made with `autocommit`; a multi-statement schema fails when it is prepared.
    `connector` listens over a connection of its own, `schema` sends the schema without preparing it.
 2. A job is finished by its id, whoever has it: a frozen worker may finish a successor's. It finishes a knock.
 3. A worker that shuts down gives no signs of life: it may be taken for dead. Its runs have the ledger's own.
 4. An abort goes through the retry strategy. Nothing is aborted: `Runs.cancel` moves the run, and the lease is lost.
 5. `lock` outlives a worker that dies, `queueing_lock` breaks retries. No job has a lock or is retried; two periodic
    ones, which may be left out, have a `queueing_lock`.
 6. A freed lock wakes nobody. There is none; the ledger makes a job when the next run of a thread is ready. Nor does
    a notice that comes before it listens, or while it is looking for jobs: `connector` looks again.
 7. A job for later blocks its lock. There is none: a retry's job waits alone.
 8. Two priorities under one lock break the fetching. There is neither.
 9. A worker whose row was deleted while it lives breaks off at its next job. So it should: `process` ends with an
    error, and its supervisor starts a new one.
10. `attempts` counts deploys and crashes alike. The ledger counts each by itself.
11. A worker with a blocked event loop is taken for dead. The ledger takes its runs away, the fence refuses what it
    writes, and `maintenance` forgets its row; then 9.
12. Jobs stay when they are finished. They are deleted at once: what happened is in the ledger.
13. Classes such as Worker and the names of channels are private. Only what procrastinate documents is used here, and
    pyproject.toml allows one minor version of it.
"""
