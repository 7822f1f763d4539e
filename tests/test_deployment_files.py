"""compose.yaml and the Kubernetes manifests: valid, and as the code and its settings are."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import kubernetes_validate
import prefect.settings
import pytest
import typer
import yaml
from prefect.settings import get_current_settings

from flows.cli import app
from models.registry.bentoml_private import configured_port
from models.serving import service
from settings import Settings
from tests.source_code import ROOT

MANIFESTS = ROOT / "examples" / "kubernetes"
OF_OPERATOR = {"servicemonitor.yaml"}  # a kind that Kubernetes itself does not know
OURS = {str(field.alias) for field in Settings.model_fields.values()}
OF_AWS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"}  # boto3 reads them
OF_BUILD = {"HONE_TAG", "TORCH_BACKEND"}
OF_OTHERS = {  # images that are not ours, with the variables that they read
    "postgres": {"POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB"},
    "label-studio": {
        "DJANGO_DB", "POSTGRE_HOST", "POSTGRE_PORT", "POSTGRE_NAME", "POSTGRE_USER",
        "POSTGRE_PASSWORD", "LABEL_STUDIO_HOST", "LABEL_STUDIO_USERNAME", "LABEL_STUDIO_PASSWORD",
        "LABEL_STUDIO_USER_TOKEN", "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN",
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK", "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT", "LABEL_STUDIO_COLLECT_ANALYTICS",
        "LABEL_STUDIO_USE_DEFAULT_BANNED_SUBNETS", "LABEL_STUDIO_USER_ADDITIONAL_BANNED_SUBNETS",
    },
}  # fmt: skip
PORTS = {
    "service": 3000, "label-studio": 8080, "prefect-server": 4200, "metrics": 9178,
    "prometheus": 9090, "alertmanager": 9093,
}  # fmt: skip
VARIABLE = re.compile(r"\$\{(\w+)(:[?-])?")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8")))


def manifests(*, of_operator: bool = False) -> list[dict[str, Any]]:
    return [
        one
        for path in sorted(MANIFESTS.glob("*.yaml"))
        if path.name != "kustomization.yaml" and (path.name in OF_OPERATOR) is of_operator
        for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [one for one in manifests() if one["kind"] == kind]


def containers() -> Iterator[dict[str, Any]]:
    """Each container of the deployments, those that prepare a pod included."""
    for deployment in of_kind("Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        yield from pod.get("initContainers", [])
        yield from pod["containers"]


def example_of_env() -> dict[str, str]:
    text = (ROOT / "examples" / "compose" / "env.example").read_text(encoding="utf-8")
    return dict(line.split("=", 1) for line in re.findall(r"^(?:# )?(\w+=.*)$", text, re.MULTILINE))


def configured(tmp_path: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """compose.yaml as podman-compose reads it; it asks an engine for its version, and no more."""
    engine = tmp_path / "podman"
    engine.write_text("#!/bin/sh\necho podman version 5.0.0\n")
    engine.chmod(0o755)
    (tmp_path / "env").write_text("".join(f"{name}={x}\n" for name, x in environment.items()))
    command = Path(sys.executable).with_name("podman-compose")
    words = ["-f", str(ROOT / "compose.yaml"), "--env-file", str(tmp_path / "env"), "config"]
    return subprocess.run(
        [command, *words], capture_output=True, text=True, check=False,
        env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
    )  # fmt: skip


def test_compose_reads_it_with_its_example_of_secrets_and_not_without_one(tmp_path: Path) -> None:
    secrets = {name: value or "secret" for name, value in example_of_env().items()}
    done = configured(tmp_path, secrets)
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert set(services) == {
        "postgres", "service", "label-studio", "prefect-server", "deployments", "worker",
        "metrics", "prometheus", "alertmanager",
    }  # fmt: skip
    environment = services["service"]["environment"]
    assert environment["HONE_DATABASE_URL"] == "postgresql://hone:secret@postgres:5432/hone"
    for name, value in {
        "HONE_CALLBACKS": "https://hooks.example.com/hone/",
        "HONE_RUNTIME": "auto",
        "HONE_ANSWER_CACHE": "64",
        "HONE_CALLBACK_SECRET": "secret",
    }.items():
        assert environment[name] == services["worker"]["environment"][name] == value
    secrets.pop("POSTGRES_PASSWORD")
    done = configured(tmp_path, secrets)
    assert done.returncode != 0 and "POSTGRES_PASSWORD" in done.stderr


def test_each_variable_that_compose_asks_for_is_in_the_example(compose: dict[str, Any]) -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    asked = {name for name, _ in VARIABLE.findall(text)}
    example = example_of_env()
    assert asked - set(example) == {"HONE_TAG", "WANDB_PROJECT"}
    needed = {name for name, kind in VARIABLE.findall(text) if kind == ":?"}
    assert needed == {name for name, value in example.items() if not value} - OPTIONAL
    assert set(example) <= asked


OPTIONAL = {"HONE_ALERTS", "HONE_CALLBACK_SECRET", "WANDB_API_KEY"}  # empty means: none
NOT_IN_COMPOSE = {  # settings that have nothing to say there
    "HONE_COMMIT",  # the image has it from its build
    "HONE_RAY",  # a cluster
    "HONE_TRAFFIC",  # a bento without a workspace
    "HONE_IMAGE_BUCKET",  # images are in the volume `staged`
    "HONE_LABEL_STUDIO_COMMAND",  # the demo starts one
    "HONE_WEBHOOK_SECRET", "HONE_WEBHOOK_URL",  # `hone webhook` is not run
    "PREFECT_API_KEY",  # Prefect Cloud
}  # fmt: skip


def test_each_setting_reaches_the_service_and_the_worker(compose: dict[str, Any]) -> None:
    """Or what stands in .env would be of no effect, and nothing would say so."""
    given = {name: one["environment"] for name, one in compose["services"].items()
             if name in ("service", "worker")}  # fmt: skip
    assert OURS - set(given["service"]) == NOT_IN_COMPOSE
    assert OURS - set(given["worker"]) == NOT_IN_COMPOSE | {"HONE_WORKERS"}
    for name in ("HONE_THREADS", "HONE_RUNTIME"):  # the worker chooses the service's runtime
        assert given["service"][name] == given["worker"][name]


def test_an_empty_value_in_compose_is_the_default(
    compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = compose["services"]["service"]["environment"]
    empty = {name for name, value in given.items() if str(value).endswith(":-}")}
    assert {"HONE_ANSWER_CACHE", "HONE_CALLBACKS", "HONE_REQUESTS_PER_MINUTE"} <= empty
    for name in empty:
        monkeypatch.delenv(name, raising=False)
    without = Settings()
    for name in empty:
        monkeypatch.setenv(name, "")
    assert Settings() == without


def test_each_variable_is_a_setting_of_whoever_gets_it(compose: dict[str, Any]) -> None:
    for name, one in compose["services"].items():
        given = set(one.get("environment", {}))
        assert (given - OF_OTHERS[name] if name in OF_OTHERS else unknown(given)) == set(), name
    given = {
        variable
        for one in manifests()
        if one["kind"] in ("ConfigMap", "Secret")
        for variable in one.get("data") or one["stringData"]
    }
    given |= {variable["name"] for one in containers() for variable in one.get("env", [])}
    assert unknown(given) - OF_AWS == set()
    assert unknown({"HONE_WORKER", "PREFECT_SERVER_API_HOTS"}) == {
        "HONE_WORKER",
        "PREFECT_SERVER_API_HOTS",
    }


def unknown(variables: set[str]) -> set[str]:
    """Those that are no setting of Hone and none of Prefect."""
    return {name for name in variables - OURS if not hasattr(prefect.settings, name)}


def test_services_are_healthy_restarted_and_open_on_this_machine_only(
    compose: dict[str, Any],
) -> None:
    for name, one in compose["services"].items():
        assert ("healthcheck" in one) is (name != "deployments"), name
        assert one["restart"] == ("no" if name == "deployments" else "unless-stopped"), name
        ports = [f"127.0.0.1:{PORTS[name]}:{PORTS[name]}"] if name in PORTS else []
        assert one.get("ports", []) == ports, name
        for volume in one.get("volumes", []):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (ROOT / source).is_file(), volume
        for needed, how in one.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in compose["services"][needed], name


def commands(compose: dict[str, Any]) -> Iterator[Sequence[str]]:
    """The words of each command that an image of ours runs."""
    ours = [one for one in compose["services"].values() if one["image"].startswith("hone:")]
    for words in [one["command"] for one in ours] + [one["command"] for one in containers()]:
        if words[0] == "sh":
            yield from (line.split() for line in words[-1].split(" && "))
        else:
            yield words


def test_each_command_is_one_of_the_program_with_options_that_it_has(
    compose: dict[str, Any],
) -> None:
    import prefect.cli.deploy._commands
    import prefect.cli.server
    import prefect.cli.work_pool
    import prefect.cli.worker

    of_prefect = {
        "worker start": prefect.cli.worker, "work-pool create": prefect.cli.work_pool,
        "server start": prefect.cli.server, "deploy --all": prefect.cli.deploy._commands,
    }  # fmt: skip
    programs = set()
    for program, *words in commands(compose):
        programs.add(program)
        if program == "hone":
            group = cast(Any, typer.main.get_command(app))
            command = group.commands[words[0]]
            command.make_context(words[0], words[1:])  # fails on an option that it has not
        elif program == "prefect":
            first, second = [word for word in words if word != "--no-prompt"][:2]
            source = Path(str(of_prefect[f"{first} {second}"].__file__)).read_text(encoding="utf-8")
            options = {word for word in words if word.startswith("--")} - {"--no-prompt"}
            assert all(option in source for option in options), words
        else:
            assert (program, words[:2]) == ("bentoml", ["serve", "/app"])
            assert words[2::2] == ["--host", "--port"]
    assert programs == {"hone", "prefect", "bentoml"}


def test_ports_are_those_of_the_code(compose: dict[str, Any]) -> None:
    cast(Any, service.Hone).inject_config()
    assert configured_port() == PORTS["service"]
    assert get_current_settings().server.api.port == PORTS["prefect-server"]
    for program, *words in commands(compose):
        port = words[words.index("--port") + 1] if "--port" in words else None
        expected = {"bentoml": "3000", "hone": "9178", "prefect": port and "4200"}
        assert port == expected[program]
    published = {one["name"]: one["ports"][0]["containerPort"] for one in containers()
                 if "ports" in one}  # fmt: skip
    assert published == {"service": 3000, "worker": 8080, "metrics": 9178}
    targets = re.findall(r'targets: \["([^"]+)"\]', text_of("examples/compose/prometheus.yml"))
    assert targets == ["alertmanager:9093", "service:3000", "metrics:9178"]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_guide_has_the_table_of_ports() -> None:
    rows = re.findall(
        r"^\| `([a-z-]+)` \|[^|]*\| (\d+) \|", text_of("docs/operate/deploy.md"), re.M
    )
    assert {name: int(port) for name, port in rows} == PORTS


def test_prometheus_asks_in_compose_what_it_asks_in_the_example() -> None:
    here, there = (
        yaml.safe_load(text_of(f"examples/{folder}/prometheus.yml"))
        for folder in ("compose", "monitoring")
    )
    jobs = [[job["job_name"] for job in one["scrape_configs"]] for one in (here, there)]
    assert jobs[0] == jobs[1] and here["rule_files"] == there["rule_files"]


@pytest.mark.parametrize(
    "manifest", manifests(), ids=lambda one: f"{one['kind']}-{one['metadata']['name']}"
)
def test_kubernetes_takes_the_manifest(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, "1.30", strict=True)
    kubernetes_validate.validate(manifest, "1.37", strict=True)


def test_kubernetes_would_not_take_another() -> None:
    [deployment, *_] = of_kind("Deployment")
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(
            {**deployment, "spec": {**deployment["spec"], "replica": 2}}, "1.37", strict=True
        )


def test_each_container_is_bounded_checked_and_without_rights() -> None:
    for one in containers():
        assert {"cpu", "memory"} <= one["resources"]["requests"].keys()
        assert "memory" in one["resources"]["limits"]
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert one["name"] == "deployments" or "livenessProbe" in one
    for deployment in of_kind("Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True and not pod["enableServiceLinks"]
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"] == labels


def test_the_service_is_ready_when_a_model_is_and_alive_when_its_process_is() -> None:
    [one] = [one for one in containers() if one["name"] == "service"]
    assert one["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert one["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
    [scaler] = of_kind("HorizontalPodAutoscaler")
    [budget] = of_kind("PodDisruptionBudget")
    [deployment] = [d for d in of_kind("Deployment") if d["metadata"]["name"] == "hone-service"]
    assert scaler["spec"]["scaleTargetRef"]["name"] == "hone-service"
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]
    assert scaler["spec"]["minReplicas"] > budget["spec"]["minAvailable"]
    assert "replicas" not in deployment["spec"]  # else each apply would undo the scaler


def test_all_manifests_are_applied_together_but_those_of_the_operator() -> None:
    kustomization = yaml.safe_load(text_of("examples/kubernetes/kustomization.yaml"))
    files = {path.name for path in MANIFESTS.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == files - OF_OPERATOR
    [monitor] = manifests(of_operator=True)
    ports = {port["name"] for one in of_kind("Service") for port in one["spec"]["ports"]}
    assert {one["port"] for one in monitor["spec"]["endpoints"]} == ports


def test_the_operator_names_the_jobs_as_the_rules_ask_for_them() -> None:
    asked = re.findall(r'job="([^"]+)"', text_of("examples/monitoring/rules.yml"))
    here = yaml.safe_load(text_of("examples/monitoring/prometheus.yml"))
    names = {port["name"]: one["metadata"]["name"]
             for one in of_kind("Service") for port in one["spec"]["ports"]}  # fmt: skip
    [monitor] = manifests(of_operator=True)
    jobs = {
        endpoint["port"]: {one["targetLabel"]: one["replacement"]
                           for one in endpoint.get("relabelings", [])
                           }.get("job", names[endpoint["port"]])
        for endpoint in monitor["spec"]["endpoints"]
    }  # fmt: skip
    assert jobs == {"http": "hone-service", "metrics": "hone-loop"}
    assert set(jobs.values()) == set(asked) == {one["job_name"] for one in here["scrape_configs"]}


def test_no_pod_reads_counters_of_whatever_pod_the_balancer_chooses() -> None:
    [settings] = of_kind("ConfigMap")
    assert "HONE_SERVICE_URL" not in settings["data"]
    assert not [one for one in containers() for variable in one.get("env", [])
                if variable["name"] == "HONE_SERVICE_URL"]  # fmt: skip


def filled(value: Any, variables: dict[str, Any]) -> Any:
    """The template of a job with its variables filled in, as Prefect does."""
    if isinstance(value, dict):
        return {key: filled(one, variables) for key, one in value.items()}
    if isinstance(value, list):
        return [filled(one, variables) for one in value]
    if isinstance(value, str) and (whole := re.fullmatch(r"\{\{ (\w+) \}\}", value)):
        return variables[whole[1]]
    if isinstance(value, str):
        return re.sub(r"\{\{ (\w+) \}\}", lambda one: str(variables[one[1]]), value)
    return value


def test_the_template_of_a_work_pool_makes_jobs_that_kubernetes_takes() -> None:
    template = json.loads(text_of("examples/kubernetes/work-pool.json"))
    properties = template["variables"]["properties"]
    variables = {name: one.get("default") for name, one in properties.items()} | {
        "name": "run", "labels": {"app": "hone"}, "command": ["prefect", "flow-run", "execute"],
        "env": [{"name": "PREFECT__FLOW_RUN_ID", "value": "1"}],
    }  # fmt: skip
    job = filled(template["job_configuration"], variables)["job_manifest"]
    kubernetes_validate.validate(job, "1.37", strict=True)
    [container] = job["spec"]["template"]["spec"]["containers"]
    [worker] = [one for one in containers() if one["name"] == "worker"]
    for shared in ("volumeMounts", "securityContext", "envFrom"):
        assert container[shared] == worker[shared]
