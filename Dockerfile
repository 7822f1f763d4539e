# All of Hone in one image: flows and their worker, `hone`, and the service of a workspace.
# compose.yaml and examples/kubernetes run it. Packages have the versions of requirements.lock;
# PyTorch's build is the processor's unless TORCH_BACKEND names another (cu130).
FROM python:3.11-slim AS packages
ARG PIP_INDEX_URL
RUN pip install --no-cache-dir uv==0.13.8
WORKDIR /app
COPY pyproject.toml requirements.lock ./
ARG UV_DEFAULT_INDEX
ARG TORCH_BACKEND=cpu
# The lock also has what tests and documentation need: it decides versions, not what is installed.
RUN sed -e '/^    --hash/d' -e 's/ \\$//' requirements.lock > /tmp/versions.txt \
 && uv venv --python /usr/local/bin/python3.11 /app/.venv \
 && uv pip install --python /app/.venv/bin/python --no-cache --compile-bytecode \
      --torch-backend "$TORCH_BACKEND" --constraint /tmp/versions.txt \
      --requirement pyproject.toml --extra fast --extra pretrained

FROM python:3.11-slim
# DVC runs git. hadolint's rule on versions (DL3008) would break the build with each update of git.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends git \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 1034 hone \
 && useradd --uid 1034 --gid 1034 --create-home hone \
 && install --directory --owner=hone --group=hone /workspace /workspace/staged
COPY --from=packages /app/.venv /app/.venv
WORKDIR /app
COPY pyproject.toml prefect.yaml bentofile.yaml requirements-serve.lock settings.py ./
COPY core core
COPY labeling labeling
COPY models models
COPY tasks tasks
COPY flows flows
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    HONE_WORKSPACE=/workspace \
    BENTOML_DO_NOT_TRACK=True \
    DO_NOT_TRACK=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    DVC_NO_ANALYTICS=1
RUN printf '#!/bin/sh\nexec python -m flows "$@"\n' > /usr/local/bin/hone \
 && chmod 755 /usr/local/bin/hone
# What a trained model records as its code; there is no git folder in the image.
ARG HONE_COMMIT
ENV HONE_COMMIT=$HONE_COMMIT
USER 1034:1034
VOLUME /workspace
EXPOSE 3000 4200 9178
ENTRYPOINT []
CMD ["hone", "--help"]
