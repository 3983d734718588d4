"""The devcontainer as it is built: its tools, its user, whom it trusts, and what happens at creation and start."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.delivery.devcontainer.house import Devcontainer, Failed
from tests.engines.process import free_ports
from tests.engines.tls import Authority


class Quiet(BaseHTTPRequestHandler):
    """Answers every request with `trusted`, and writes no log."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "7")
        self.end_headers()
        self.wfile.write(b"trusted")

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(authority: Authority, folder: Path) -> Iterator[str]:
    """A server whose certificate this CA has signed: its URL."""
    pem = folder / "server.pem"
    pem.write_text(authority.issue())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"https://localhost:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def test_the_tools_are_there(devcontainer: Devcontainer) -> None:
    programs = {
        "python3.11 --version": "Python 3.11.",
        "uv --version": "uv ",
        "node --version": "v24.",
        "gitlab-ci-local --version": ".",
        "devcontainer --version": ".",
        "kcat -V": "kcat",
        "kafkacat -V": "kcat",
        "java -version": 'version "17.',
        "git --version": "git version",
        "make --version": "GNU Make",
        "rsync --version": "rsync",
        "ssh -V": "OpenSSH",
        "kubectl version --client": "Client Version: v1.",
        "helm version": "v4.",
        "gitlab-runner --version": "Version:",
        "go version": "go version go1.26",
    }
    for name in programs:
        if (program := name.split()[0]) in devcontainer.stand_ins:
            programs[name] = f"stand-in for {program}"
    script = "; ".join(f"echo '== {name}'; {name} 2>&1 | head -3" for name in programs)
    told = devcontainer.run("bash", "-ec", script)
    for (name, expected), output in zip(programs.items(), told.split("== ")[1:], strict=True):
        assert expected in output.removeprefix(name), output


def test_one_works_as_a_user_of_ones_own_who_may_become_root(devcontainer: Devcontainer) -> None:
    assert devcontainer.run("bash", "-c", "id -un; id -u; sudo -n id -u; echo $HOME").split() == [
        "dev",
        "1000",
        "0",
        "/home/dev",
    ]


def test_curl_python_node_and_java_trust_the_house_and_no_other_ca(
    devcontainer: Devcontainer, authority: Authority, tmp_path: Path
) -> None:
    with serving(authority, tmp_path) as url:
        script = f"""
            curl -sS {url}; echo
            python3.11 -c 'import urllib.request; print(urllib.request.urlopen("{url}").read().decode())'
            node -e 'fetch("{url}").then((answer) => answer.text()).then(console.log)'
            keytool -list -cacerts -storepass changeit 2>/dev/null | grep -c -i house
        """
        assert devcontainer.run("bash", "-ec", script).split() == ["trusted", "trusted", "trusted", "1"]
    # The system's trust decides, not a check that is switched off.
    stranger = Authority.create("Somebody else")
    with serving(stranger, tmp_path) as url, pytest.raises(Failed, match="self-signed certificate"):
        devcontainer.run("curl", "-sS", url)


def test_a_private_key_among_the_certificates_is_refused(devcontainer: Devcontainer, authority: Authority) -> None:
    folder = devcontainer.checkout / "build" / "keys"
    folder.mkdir(parents=True)
    (folder / "house.pem").write_text(authority.issue())
    with pytest.raises(Failed, match=r"house\.pem holds a private key"):
        devcontainer.run("/opt/streamforge-dev/install/certificates.sh", "build/keys", user="root")


def test_post_create_ends_in_green_tests(devcontainer: Devcontainer) -> None:
    told = devcontainer.run(
        ".devcontainer/post-create.sh", environment={"STREAMFORGE_POST_CREATE_ARGS": "-q tests/model tests/ports"}
    )
    assert " passed" in told
    assert told.endswith("post-create: StreamForge is ready: try make demo")


KUBECONFIG = """apiVersion: v1
kind: Config
clusters:
  - name: kind
    cluster:
      certificate-authority-data: AA==
      server: https://127.0.0.1:6443
  - name: office
    cluster:
      server: https://kube.example:6443
"""


def test_the_kubeconfig_of_the_machine_is_found_and_reaches_its_clusters(devcontainer: Devcontainer) -> None:
    folder = devcontainer.checkout / "build" / "host-kube"
    folder.mkdir(parents=True)
    (folder / "config").write_text(KUBECONFIG)
    environment = {"STREAMFORGE_HOST_KUBE": "build/host-kube"}
    script = ".devcontainer/kubeconfig.sh; stat -c %a ~/.kube/config"
    told = devcontainer.run("bash", "-c", script, environment=environment)
    assert told.splitlines()[-1] == "600"
    found = devcontainer.run("cat", "/home/dev/.kube/config")
    assert "      server: https://host.docker.internal:6443\n      tls-server-name: 127.0.0.1\n" in found
    assert "      server: https://kube.example:6443" in found
    devcontainer.run("touch", "-d", "tomorrow", "/home/dev/.kube/config")
    assert "newer" in devcontainer.run(".devcontainer/kubeconfig.sh", environment=environment)


def test_a_start_trusts_what_was_added_and_starts_no_server(devcontainer: Devcontainer) -> None:
    added = Authority.create("CA added later")
    (devcontainer.checkout / ".devcontainer" / "certs" / "later.crt").write_text(added.pem)
    told = devcontainer.run("bash", "-ec", ".devcontainer/post-start.sh; pgrep -x sshd || echo no sshd")
    assert "sshd:" not in told
    assert "no sshd" in told
    script = "openssl verify -CApath /etc/ssl/certs .devcontainer/certs/later.crt"
    assert devcontainer.run("bash", "-ec", script).endswith(": OK")
    listed = "keytool -list -cacerts -storepass changeit 2>/dev/null"
    before = devcontainer.run("bash", "-c", listed)
    assert "later" in before

    taken_out = devcontainer.checkout / "build" / "later.crt"
    taken_out.parent.mkdir(exist_ok=True)
    (devcontainer.checkout / ".devcontainer" / "certs" / "later.crt").rename(taken_out)
    devcontainer.run(".devcontainer/post-start.sh")
    script = "! openssl verify -CApath /etc/ssl/certs build/later.crt 2>&1"
    assert "self-signed" in devcontainer.run("bash", "-ec", script)
    after = devcontainer.run("bash", "-c", listed)
    assert "later" not in after
    assert "house" in after
    assert after.count("trustedCertEntry") == before.count("trustedCertEntry") - 1, "those of the system stay"


def test_the_ssh_server_lets_in_by_key_alone(devcontainer: Devcontainer) -> None:
    (port,) = free_ports(1)
    keys = devcontainer.checkout / ".devcontainer" / "authorized_keys"
    with pytest.raises(Failed, match="who may come in"):
        devcontainer.run(".devcontainer/sshd.sh")
    login = f"ssh -p {port} -o StrictHostKeyChecking=accept-new -o BatchMode=yes"
    script = f"""
        ssh-keygen -q -t ed25519 -N '' -f ~/known; ssh-keygen -q -t ed25519 -N '' -f ~/unknown
        cp ~/known.pub .devcontainer/authorized_keys
        .devcontainer/sshd.sh
        trap 'kill "$(cat ~/.local/state/streamforge-sshd/sshd.pid)"' EXIT
        {login} -o IdentitiesOnly=yes -i ~/known dev@127.0.0.1 id -un
        {login} -o IdentitiesOnly=yes -i ~/unknown dev@127.0.0.1 id -un 2>&1 || true
        {login} -o PubkeyAuthentication=no dev@127.0.0.1 id -un 2>&1 || true
    """
    told = devcontainer.run("bash", "-ec", script, environment={"STREAMFORGE_DEVCONTAINER_SSH_PORT": str(port)})
    keys.unlink()
    lines = [line for line in told.splitlines() if not line.startswith("Warning: Permanently added")]
    assert lines[0] == f"sshd: on 127.0.0.1:{port}, by key, for dev"
    assert lines[1] == "dev"
    assert [line.rpartition(": ")[2] for line in lines[2:]] == ["Permission denied (publickey)."] * 2
