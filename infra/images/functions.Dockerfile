# All five functions in one image; which one runs is TWINUP_FUNCTION. From the repository's root:
#   docker build -f infra/images/functions.Dockerfile -t ghcr.io/example/twinup-functions:0.1.0 .
# --build-arg FUNCTION=gateway changes what runs when nothing is said.

FROM python:3.11.14-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
COPY infra/images/functions.lock /opt/functions.lock
# Wheels alone, each with its hash: nothing is built, and nothing comes that the lock does not name.
RUN python -m venv --without-pip /opt/venv \
    && python -m pip --python /opt/venv/bin/python install --no-deps --only-binary=:all: \
    --require-hashes -r /opt/functions.lock
WORKDIR /app
COPY infra/images/health.py /app/
COPY shared/src /app/shared/src/
COPY configs /app/configs/
COPY functions /app/functions/
# The file system is read-only later on: compiled once, here.
RUN python -m compileall -q /app

FROM python:3.11.14-slim-bookworm
LABEL org.opencontainers.image.title="TWINUP sensor functions" \
      org.opencontainers.image.description="consumer, analytics, alerts, auth and gateway" \
      org.opencontainers.image.vendor="the TWINUP sensor system contributors" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.base.name="python:3.11.14-slim-bookworm"
# No installer inside: what runs here is what was built.
RUN python -m pip uninstall --yes --quiet pip setuptools wheel
COPY --from=build /opt/venv /opt/venv/
COPY --from=build /app /app/
ARG FUNCTION=consumer
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/app/shared/src:/app/functions/consumer/src:/app/functions/analytics/src:/app/functions/alerts/src:/app/functions/auth/src:/app/functions/gateway/src \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TWINUP_CONFIG_DIR=/app/configs \
    TWINUP_SERVER_HOST=0.0.0.0 \
    TWINUP_SERVER_PORT=8080 \
    TWINUP_GRPC_HOST=0.0.0.0 \
    TWINUP_FUNCTION=${FUNCTION}
WORKDIR /app
USER 1000:1000
# 50051: gRPC, alerts alone.
EXPOSE 8080 50051
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["python", "/app/health.py"]
ENTRYPOINT ["sh", "-c", "exec python -m sensor_shared.runtime \"functions/$TWINUP_FUNCTION\""]
