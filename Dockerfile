# The production image: `idempotency-sidecar serve` and what it imports. No Envoy, no store, no development tools.
#
#   docker build --tag idempotency-sidecar:dev .
#   docker run --read-only --mount type=bind,src=$PWD/sidecar.yaml,dst=/etc/idempotency/sidecar.yaml,readonly \
#     --mount type=volume,src=sockets,dst=/run/idempotency idempotency-sidecar:dev

FROM python:3.11-slim-bookworm AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source

# The interpreter's own pip installs into the environment, so that the environment has none. Wheels only: nothing is
# compiled here, so the final stage cannot miss a library that only this one has.
COPY pyproject.toml constraints.txt ./
RUN python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb")); \
print(*project["project"]["dependencies"], sep="\n", file=open("/tmp/runtime.txt", "w")); \
print(*project["build-system"]["requires"], sep="\n", file=open("/tmp/build.txt", "w"))' \
 && python -m venv --without-pip /opt/idempotency \
 && python -m pip --python /opt/idempotency/bin/python install --no-compile --only-binary :all: \
      --requirement /tmp/runtime.txt --constraint constraints.txt \
 && python -m venv /tmp/build && /tmp/build/bin/pip install --quiet --requirement /tmp/build.txt

# Bytecode that is valid whatever the files' times are, because the running container may write none.
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/idempotency/lib


FROM dependencies AS project
COPY LICENSE README.md ./
COPY sidecar sidecar
RUN /tmp/build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
 && python -m pip --python /opt/idempotency/bin/python install --no-compile --no-deps --root /tmp/project /tmp/wheel/*.whl \
 && python -m compileall -q --invalidation-mode unchecked-hash -s /tmp/project /tmp/project


FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="idempotency-sidecar" \
      org.opencontainers.image.description="Idempotency keys for any HTTP service, as an Envoy ext_proc server" \
      org.opencontainers.image.licenses="Apache-2.0"

# A number, not a name: Kubernetes' runAsNonRoot cannot look a name up. The directory of the socket belongs to it
# alone, and a new volume mounted there takes its owner and mode, so Envoy connects by running as the same user.
RUN install --directory --owner=10001 --group=10001 --mode=0700 /run/idempotency \
 && install --directory /etc/idempotency
# Two layers: a new version of the project is pulled without its dependencies, which are eighty times as large.
COPY --from=dependencies /opt/idempotency /opt/idempotency
COPY --from=project /tmp/project /
ENV PATH=/opt/idempotency/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /run/idempotency

EXPOSE 9902
STOPSIGNAL SIGTERM

# Alive, not ready: a store that is away must not get a healthy process killed. The port is the one the
# environment gives, or the default; an admin address set in the file needs a health check of its own.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["python", "-c", "\
import http.client, os, sys; \
port = os.environ.get('IDEMPOTENCY__SERVER__ADMIN', ':9902').rpartition(':')[2]; \
admin = http.client.HTTPConnection('127.0.0.1', int(port), timeout=2); \
admin.request('GET', '/healthz'); \
sys.exit(admin.getresponse().status != 200)"]

ENTRYPOINT ["idempotency-sidecar"]
CMD ["serve", "--config", "/etc/idempotency/sidecar.yaml"]
