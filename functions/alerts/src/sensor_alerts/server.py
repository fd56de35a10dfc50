"""The gRPC server: both services with the token, standard health and reflection beside them."""

from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from sensor_alerts.interceptor import TokenInterceptor
from sensor_alerts.service import AlertService
from sensor_alerts.settings import GrpcSettings
from sensor_alerts.silences.service import SilenceService
from twinup.alert.v1 import alert_pb2, alert_pb2_grpc, silence_pb2, silence_pb2_grpc

SERVICE: Final = alert_pb2.DESCRIPTOR.services_by_name["AlertService"].full_name
SILENCES: Final = silence_pb2.DESCRIPTOR.services_by_name["SilenceService"].full_name
_MAX_METADATA_BYTES: Final = 16 * 1024
_GRACE_SECONDS: Final = 5.0
_Status = health_pb2.HealthCheckResponse


class GrpcServer:
    """Serves in the running event loop; `port` is the one that it listens on."""

    def __init__(self, settings: GrpcSettings, service: AlertService, silences: SilenceService):
        self._server = grpc.aio.server(
            interceptors=(TokenInterceptor(settings.token.get_secret_value()),),
            options=(
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
                ("grpc.so_reuseport", 0),  # a port that is taken is an error, not a share
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ),
            maximum_concurrent_rpcs=settings.max_concurrent,
        )
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # not in the stubs
        alert_pb2_grpc.add_AlertServiceServicer_to_server(service, self._server)
        silence_pb2_grpc.add_SilenceServiceServicer_to_server(silences, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE, SILENCES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self.port = self._server.add_insecure_port(f"{settings.host}:{settings.port}")

    async def start(self) -> None:
        """Begins to serve, not healthy until `show` says so."""
        await self.show(healthy=False)
        await self._server.start()

    async def show(self, *, healthy: bool) -> None:
        """Sets what grpc.health.v1 answers, for the server and for each service."""
        status = _Status.SERVING if healthy else _Status.NOT_SERVING
        for name in ("", SERVICE, SILENCES):
            await self._health.set(name, status)

    async def stop(self) -> None:
        """Ends: new calls are refused, those under way may finish."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(_GRACE_SECONDS)
