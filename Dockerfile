# syntax=docker/dockerfile:1
# almtok serve on port 8000, with the versions of constraints.txt. It asks for a key, because the
# server listens on all addresses of the container: see SECURITY.md.
#   docker build -t almtok .                                                               CPU
#   docker build -t almtok:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
#   docker run -p 127.0.0.1:8000:8000 -e ALMTOK_API_KEY=secret almtok
#   docker run --gpus all ... almtok:cuda
# PyTorch's wheels have the CUDA libraries inside; a base with them (BASE) is not needed.
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/almtok
ENV PATH=/opt/almtok/bin:$PATH
# Its own layer: it is large and changes seldom.
WORKDIR /src
COPY constraints.txt .
RUN pip install --constraint constraints.txt torch --index-url "${TORCH_INDEX}"
COPY . .
RUN pip install --constraint constraints.txt '.[serve]'

FROM ${BASE}
RUN useradd --create-home --uid 1000 almtok
COPY --from=build /opt/almtok /opt/almtok
ENV PATH=/opt/almtok/bin:$PATH OMP_WAIT_POLICY=passive PYTHONUNBUFFERED=1
USER 1000
WORKDIR /home/almtok
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health')"]
ENTRYPOINT ["almtok"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
