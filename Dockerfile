# The server, without a GPU. docker build -t claip-emo . && docker run --rm -p 127.0.0.1:8000:8000 \
#   --read-only --tmpfs /tmp:size=2g --cap-drop ALL --security-opt no-new-privileges claip-emo
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE LICENSE-mini ./
COPY recipes recipes
COPY src src
# torch's own index has it without CUDA, which is several GB.
RUN python -m venv /opt/claip-emo \
 && /opt/claip-emo/bin/pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
    -c constraints.txt '.[serve]'

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin claip
COPY --from=build /opt/claip-emo /opt/claip-emo
ENV PATH=/opt/claip-emo/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    HF_HUB_OFFLINE=1 TMPDIR=/tmp HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib
USER 10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", \
  "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
# In a container, 0.0.0.0 is what a published port reaches; publish it on 127.0.0.1 as above.
ENTRYPOINT ["claip-emo", "serve", "--host", "0.0.0.0"]
