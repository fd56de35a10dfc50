# Producer, dispatcher, migrations and the operators' commands; which one runs is the argument, a
# Python module with its own arguments. From the repository's root:
#   docker build -f infra/images/tools.Dockerfile -t ghcr.io/example/twinup-tools:0.1.0 .
#   docker run … ghcr.io/example/twinup-tools:0.1.0 sensor_producer configs/producer-config.yaml

FROM python:3.11.14-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
COPY infra/images/tools.lock /opt/tools.lock
# Wheels alone, each with its hash: nothing is built, and nothing comes that the lock does not name.
RUN python -m venv --without-pip /opt/venv \
    && python -m pip --python /opt/venv/bin/python install --no-deps --only-binary=:all: \
    --require-hashes -r /opt/tools.lock
WORKDIR /app
COPY infra/images/health.py /app/
COPY shared/src /app/shared/src/
COPY configs /app/configs/
COPY eventing /app/eventing/
COPY load/producer/src /app/load/producer/src/
COPY infra/clickhouse/migrations /app/infra/clickhouse/migrations/
COPY infra/local /app/infra/local/
# The file system is read-only later on: compiled once, here.
RUN python -m compileall -q /app

FROM python:3.11.14-slim-bookworm
LABEL org.opencontainers.image.title="TWINUP sensor tools" \
      org.opencontainers.image.description="producer, dispatcher, migrations, operators' commands" \
      org.opencontainers.image.vendor="the TWINUP sensor system contributors" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.base.name="python:3.11.14-slim-bookworm"
# No installer inside: what runs here is what was built. The folder is for a volume, with the
# producer's ledger and spool: a new one gets its owner.
RUN python -m pip uninstall --yes --quiet pip setuptools wheel \
    && install --directory --owner=1000 --group=1000 /var/lib/twinup
COPY --from=build /opt/venv /opt/venv/
COPY --from=build /app /app/
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/app/shared/src:/app/eventing/dispatcher/src:/app/load/producer/src:/app/infra/local/src \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TWINUP_CONFIG_DIR=/app/configs \
    TWINUP_SERVER_HOST=0.0.0.0 \
    TWINUP_SERVER_PORT=8080
WORKDIR /app
USER 1000:1000
EXPOSE 8080
# Of the producer and the dispatcher; a command that ends does so before it counts.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["python", "/app/health.py"]
ENTRYPOINT ["python", "-m"]
CMD ["sensor_dispatcher", "eventing"]
