# One image for the migration, the API and the worker.
FROM python:3.12-slim-bookworm

# Debian's account, so that the containers never run as root.
RUN useradd --create-home --uid 10001 bitfront && install -d -o bitfront /data
WORKDIR /app
COPY requirements.lock pyproject.toml README.md LICENSE alembic.ini ./
COPY api api
COPY bitfront bitfront
COPY core core
COPY frontend frontend
COPY migrations migrations
COPY worker worker
RUN pip install --no-cache-dir --constraint requirements.lock --editable .

USER bitfront
ENV BITFRONT_DATA_DIR=/data \
    OMP_WAIT_POLICY=PASSIVE \
    PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8000
CMD ["python", "-m", "api"]
