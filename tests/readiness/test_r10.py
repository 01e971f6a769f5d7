"""R10 retention: what a deployment does not schedule, or without effect, or deletes too much or too little of."""

import pytest
from harness import Case, assert_fails, assert_holds

ID = "R10"
QUICK = "straight-pass"
CRONTAB = "deploy/purge.crontab"
CRONJOB = "deploy/purge-cronjob.yaml"
WORKER = "deploy/worker-deployment.yaml"
COMPOSE = "compose.yaml"
WINDOW = "AUDIT_WINDOW_DAYS=90\n"
WORKFLOW = """
on:
  schedule:
    - cron: "17 3 * * *"
jobs:
  purge:
    runs-on: [self-hosted]
    env:
      AUDIT_WINDOW_DAYS: 90
    steps:
      - run: ssh agent@host 'cd /srv/acme-agent && .venv/bin/acme-agent purge --json'
"""


def deploy(case: Case, file: str, old: str, new: str) -> Case:
    """Replace a text in a file of the project's folder."""
    path = case.folder / file
    text = path.read_text()
    assert text.count(old) == 1, text
    path.write_text(text.replace(old, new))
    return case


def test_schedule_that_is_commented_out_is_none(case: Case) -> None:
    assert_fails(
        deploy(case, CRONTAB, "17 3 * * * cd", "# off until May: 17 3 * * * cd"),
        ID,
        "no deployment file starts `purge` on schedule",
        scenario=QUICK,
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (WINDOW, f"# {WINDOW}", "crontab purge.crontab starts `purge` without AUDIT_WINDOW_DAYS"),
        (WINDOW, "AUDIT_WINDOW_DAYS=0\n", "with AUDIT_WINDOW_DAYS=0: AUDIT_WINDOW_DAYS"),
        ("purge --json", "purge --dry-run --json", "purges nothing: with --dry-run"),
    ],
    ids=["no window", "a window of nothing", "a dry run"],
)
def test_schedule_without_effect(case: Case, old: str, new: str, said: str) -> None:
    found = assert_fails(deploy(case, CRONTAB, old, new), ID, said, scenario=QUICK)
    assert found.checks[ID]["problems"][0]["file"] == CRONTAB


def test_deletion_that_only_says_so(case: Case) -> None:
    """A template's route for deleting a thread is a TODO that answers "cleared"."""
    case.replace(
        "persistence/sqlite_retention.py",
        'return await _delete(transaction.connection, sql.DELETE, {"thread": thread})',
        "return rows  # TODO: delete them",
    )
    assert_fails(case, ID, "of a finished thread after 31 days, with AUDIT_WINDOW_DAYS=30", scenario=QUICK)


def test_deletion_of_what_was_cut_off(case: Case) -> None:
    case.replace("runs/retention.py", 'case "unfinished" if beyond:', 'case "unfinished" if age < timedelta(0):')
    case.replace("runs/retention.py", 'case "done" | "failed" if beyond:', "case _ if beyond:")
    assert_fails(case, ID, "of a thread that was cut off, after 31 days", scenario=QUICK)


def test_window_in_the_wrong_unit(case: Case) -> None:
    case.replace("runs/retention.py", "timedelta(days=number)", "timedelta(hours=number)")
    assert_fails(case, ID, "of a finished thread after 29 days, with AUDIT_WINDOW_DAYS=30", scenario=QUICK)


def test_suspended_cron_job(postgres_case: Case) -> None:
    deploy(postgres_case, CRONJOB, "  timeZone: Etc/UTC\n", "  timeZone: Etc/UTC\n  suspend: true\n")
    assert_fails(
        postgres_case, ID, "CronJob acme-agent-purge, container purge purges nothing: it is suspended", scenario=QUICK
    )


def without(case: Case, *files: str) -> Case:
    """Delete files of the project's folder."""
    for file in files:
        (case.folder / file).unlink()
    return case


def test_workers_whose_schedule_is_empty(worker_case: Case) -> None:
    """The CronJob was to do it, and is not there any more."""
    deploy(without(worker_case, CRONJOB), WORKER, 'value: "30 3 * * *"', 'value: ""')
    said = "Deployment acme-agent-worker, container worker purges nothing: PURGE_SCHEDULE is empty"
    assert_fails(worker_case, ID, said, scenario=QUICK)


def test_workers_of_a_developers_machine(worker_case: Case) -> None:
    """What compose starts there purges, and production has nothing."""
    without(worker_case, CRONJOB, WORKER, "deploy/worker-scaledobject.yaml")
    assert_fails(worker_case, ID, "no deployment file starts `purge` on schedule", scenario=QUICK)


def test_near_miss_workers_purge_by_themselves(worker_case: Case) -> None:
    assert_holds(without(worker_case, CRONJOB), ID, scenario=QUICK)


def test_near_miss_workers_by_compose_with_a_file_of_settings(worker_case: Case) -> None:
    """Only this check is asked: such a compose file has the development server's password."""
    without(worker_case, CRONJOB, WORKER, "deploy/worker-scaledobject.yaml")
    (worker_case.folder / "production.env").write_text(WINDOW)
    compose = worker_case.folder / COMPOSE
    head, worker, rest = compose.read_text().partition("  worker:\n")
    worker += rest.replace("- path: .env\n        required: false", "- production.env")
    compose.write_text(head + worker.replace("ENVIRONMENT: development", "ENVIRONMENT: production"))
    assert not worker_case.verdicts({ID}, scenario=QUICK).failing


def test_near_miss_policy_in_a_config_map(postgres_case: Case) -> None:
    policy = '                - name: AUDIT_WINDOW_DAYS\n                  value: "90"\n'
    env = "              env:\n"
    from_map = "              envFrom:\n                - configMapRef:\n                    name: policy\n"
    deploy(postgres_case, CRONJOB, policy, "")
    deploy(postgres_case, CRONJOB, env, from_map + env)
    (postgres_case.folder / "deploy" / "policy.yaml").write_text(
        'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: policy\ndata:\n  AUDIT_WINDOW_DAYS: "90"\n'
    )
    assert_holds(postgres_case, ID, scenario=QUICK)


def test_near_miss_scheduled_workflow_instead_of_a_crontab(case: Case) -> None:
    (case.folder / CRONTAB).unlink()
    (case.folder / ".github" / "workflows" / "purge.yml").write_text(WORKFLOW)
    assert_holds(case, ID, scenario=QUICK)


def test_near_miss_window_that_is_the_teams_default(case: Case) -> None:
    deploy(case, CRONTAB, WINDOW, "")
    case.replace(
        "agent/settings.py",
        'docs: Path = Field(Path("docs")',
        'audit_window_days: float | None = Field(90, gt=0)\n    docs: Path = Field(Path("docs")',
    )
    assert_holds(case, ID, scenario=QUICK)


def test_near_miss_second_job_that_only_reports(case: Case) -> None:
    line = "17 3 * * * cd /srv"
    report = "0 8 * * 1 cd /srv/acme-agent && .venv/bin/acme-agent purge --dry-run | mail -s report team@example.com"
    assert_holds(deploy(case, CRONTAB, line, f"{report}\n{line}"), ID, scenario=QUICK)
