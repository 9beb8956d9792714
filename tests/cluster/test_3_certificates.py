"""Certificates are replaced in time, and who uses them goes on."""

import hashlib
import ssl

import servers


def served(home) -> set[str]:
    """Return the digests of the certificates that the virt-api pods show."""
    pods = home.items("pods", "-n", "kubevirt", "-l", "kubevirt.io=virt-api")
    addresses = [one["status"]["podIP"] for one in pods if one["status"].get("podIP")]
    return {
        hashlib.sha256(ssl.get_server_certificate((one, 8443)).encode()).hexdigest()
        for one in addresses
    }


def test_a_certificate_about_to_expire_is_replaced_without_a_restart(cluster):
    before = served(cluster)
    pods = {one["metadata"]["uid"] for one in cluster.items("pods", "-n", "kubevirt")}
    longer = (
        '{"spec":{"certificateRotateStrategy":{"selfSigned":'
        '{"server":{"duration":"48h0m0s","renewBefore":"30h0m0s"}}}}}'
    )

    cluster.kubectl(
        "patch", "kubevirt", "kubevirt", "-n", "kubevirt", "--type", "merge", "-p", longer
    )

    servers.until(lambda: not served(cluster) & before, "both replicas show a new one", 240)
    assert {one["metadata"]["uid"] for one in cluster.items("pods", "-n", "kubevirt")} == pods
    cluster.kubectl("get", "--raw", "/apis/subresources.kubevirt.io/v1/version")
