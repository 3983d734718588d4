/** What the manager's settings mean and are counted in, in Russian; in English the API says it. */
export const MEANINGS: Readonly<Record<string, string>> = {
  ARANGO_DB: "база данных, которая должна существовать",
  ARANGO_PASSWORD: "пароль для `ARANGO_USER`",
  ARANGO_URL: "сервер или координатор, `http://HOST:PORT` или `https://HOST:PORT`; если задан, хранилище — ArangoDB",
  ARANGO_USER: "под каким именем входить в ArangoDB",
  BINANCE_API_KEY: "ключ, который посылается с запросами; для рыночных данных он не нужен",
  BINANCE_WS_URL: "другое имя для `STREAMFORGE_STREAM_URL`, у которого преимущество",
  CA_PATH: "другое имя для `KAFKA_CA_PATH`, у которого преимущество",
  K8S_NAMESPACE: "пространство имён для Jobs рабочих сервисов",
  KAFKA_BOOTSTRAP_SERVERS: "брокеры, каждый `HOST:PORT`, через запятую; если заданы, шина — Kafka",
  KAFKA_CA_PATH: "PEM-файл ЦС, подписавшего сертификаты брокеров; его можно заменить в любое время",
  KAFKA_PASSWORD: "пароль для `KAFKA_USER`",
  KAFKA_PASSWORD_CONSUMER: "пароль для `KAFKA_USER_CONSUMER`",
  KAFKA_PASSWORD_PRODUCER: "пароль для `KAFKA_USER_PRODUCER`",
  KAFKA_USER: "под каким именем входить к брокерам (SASL)",
  KAFKA_USER_CONSUMER: "другой пользователь, чтобы читать",
  KAFKA_USER_PRODUCER: "другой пользователь, чтобы отправлять",
  KUBECONFIG: "как связаться с кластером, как у kubectl",
  QUEUE_CONTROL_TOPIC: "тема команд",
  QUEUE_EVENTS_TOPIC: "тема событий",
  STREAMFORGE_ARANGO_CA_PATH: "PEM-файл ЦС, подписавшего сертификат сервера",
  STREAMFORGE_ARCHIVE_CACHE_BYTES:
    "сколько байтов загруженных файлов хранить; место освобождает то, что дольше всех не требовалось; в Kubernetes Job следует из `STREAMFORGE_K8S_ARCHIVE_CACHE`",
  STREAMFORGE_ARCHIVE_CACHE_DIR: "где они хранятся; рабочие сервисы одной машины делят это место",
  STREAMFORGE_ARCHIVE_SAMPLES:
    "какие файлы с верной контрольной суммой сравнивать с биржей в нескольких местах: `some` — часть файлов загрузки, по запросу на каждые 2000, которые её файлы сберегли; `all` — все, по два запроса на файл",
  STREAMFORGE_ARCHIVE_URL: "базовый адрес архива; у тестовой биржи он свой, по её базовому адресу",
  STREAMFORGE_BACKOFF_CAP_SECONDS: "самая долгая пауза между сбоями",
  STREAMFORGE_BACKOFF_SECONDS: "пауза после первого сбоя; каждая следующая вдвое дольше",
  STREAMFORGE_BASKET:
    'задания корзины, которые этот процесс делает все: список JSON из `{"job": NAME, "environment": {…}}`, чьи переменные важнее переменных процесса',
  STREAMFORGE_BASKET_DIR:
    "где у средства запуска на этой машине есть папка для каждого задания корзины, в которой отмечено, чем оно кончилось",
  STREAMFORGE_BASKET_REPORT: "файл о том, чем кончились задания корзины; у пода такой есть для последнего сообщения",
  STREAMFORGE_BASKET_SIZE:
    "сколько загрузчиков потоков одной цели становятся одним процессом или одним Job, если начинают почти одновременно",
  STREAMFORGE_COMPARE_SECONDS:
    "как часто сохранённое рабочим процессом потока сравнивается с тем, что должно быть; если их много, реже",
  STREAMFORGE_CONNECTS:
    "сколько соединений с потоками этот рабочий сервис может пытаться установить за пять минут; Binance разрешает адресу 300 на все сервисы",
  STREAMFORGE_DATA_DIR: "где встроенные шина и хранилище держат свои файлы",
  STREAMFORGE_DEBUG: "писать в лог и то, что нужно только для поиска ошибок, рабочим сервисам тоже",
  STREAMFORGE_DLQ_RETENTION_SECONDS: "сколько остаются недоставленные записи",
  STREAMFORGE_DRAIN_SECONDS:
    "сколько времени есть у приёмника при остановке, чтобы сохранить присланное загрузчиками; о несохранённом он говорит, и повтор его загружает",
  STREAMFORGE_EXCHANGE_IDENTITY:
    "какая тестовая биржа должна отвечать, по её имени; пусто — любая. Для рабочих сервисов её задаёт менеджер",
  STREAMFORGE_EXCHANGE_URL: "базовые адреса биржи; если один не отвечает, берётся следующий",
  STREAMFORGE_HANDOVER_SECONDS:
    "сколько времени есть у попытки загрузчика потока, чтобы суметь заменить ту, что пишет; потом пробуют другую",
  STREAMFORGE_HEARTBEAT_SECONDS: "как часто рабочие сервисы сообщают, как идёт дело",
  STREAMFORGE_HOLE_SECONDS:
    "сколько времени пропуск потока оставлен его загрузчику, прежде чем менеджер загрузит его как историю",
  STREAMFORGE_HOST: "адрес, на котором слушает API; не на loopback ему нужны токены",
  STREAMFORGE_IMAGES: "другие образы для отдельных целей, каждый `TARGET=IMAGE`",
  STREAMFORGE_IMAGE_PULL_SECRETS: "секреты со входом в реестр образов, например `regcred`",
  STREAMFORGE_IMAGE_REGISTRY: "где лежат образы рабочих сервисов: `REGISTRY/TARGET:VERSION`",
  STREAMFORGE_IMAGE_VERSION: "версия образов рабочих сервисов",
  STREAMFORGE_K8S_ANALYST_MEMORY: "память, за пределом которой завершают рабочий сервис, строящий графы или модели",
  STREAMFORGE_K8S_ARANGO_CA_SECRET: "где для рабочих сервисов лежит ЦС ArangoDB, например `arangodb-ca/ca.crt`",
  STREAMFORGE_K8S_ARCHIVE_CACHE:
    "том для файлов архива в поде, который их загружает, на его узле; три четверти занимают файлы",
  STREAMFORGE_K8S_ARCHIVE_CLAIM: "PersistentVolumeClaim, который хранит эти файлы вместо него, один на все такие поды",
  STREAMFORGE_K8S_CONTEXT: "контекст из kubeconfig",
  STREAMFORGE_K8S_CPU_LIMIT: "сколько процессора рабочий сервис получает самое большее",
  STREAMFORGE_K8S_CPU_REQUEST: "сколько процессора рабочему сервису обеспечено",
  STREAMFORGE_K8S_DATA_CLAIM: "PersistentVolumeClaim с каталогом данных встроенных шины и хранилища, на узле менеджера",
  STREAMFORGE_K8S_DEADLINE_SECONDS: "рабочий сервис, который работает дольше, завершает Kubernetes",
  STREAMFORGE_K8S_EVICTION_SECONDS:
    "сколько ещё работает загрузчик потока, чей под завершают, чтобы другая попытка заменила его без пропуска",
  STREAMFORGE_K8S_KAFKA_CA_SECRET:
    "где для рабочих сервисов лежит ЦС брокеров Kafka, например `streamforge-cluster-ca-cert/ca.crt`",
  STREAMFORGE_K8S_MEMBER_MEMORY:
    "память, которую каждый следующий загрузчик корзины добавляет к обеспеченной памяти пода и к её пределу",
  STREAMFORGE_K8S_MEMORY_LIMIT: "память, за пределом которой рабочий сервис завершают",
  STREAMFORGE_K8S_MEMORY_REQUEST: "память, которая рабочему сервису обеспечена",
  STREAMFORGE_K8S_NODE_SELECTOR: "метки узлов, на которых работают сервисы, например `streamforge-worker=true`",
  STREAMFORGE_K8S_PRIORITY_CLASS: "PriorityClass рабочих сервисов",
  STREAMFORGE_K8S_SECRET_ENV:
    "переменные рабочих сервисов, чьи значения лежат в секрете, например `KAFKA_PASSWORD=user-streamforge/password`",
  STREAMFORGE_K8S_STREAM_CA_SECRET: "где для рабочих сервисов лежит ЦС потоков биржи, если это не системный",
  STREAMFORGE_K8S_TTL_SECONDS: "сколько остаётся завершившийся Job, чтобы на него посмотреть",
  STREAMFORGE_K8S_WORKER_CONFIGMAPS: "ConfigMaps, чьи ключи становятся переменными рабочих сервисов",
  STREAMFORGE_K8S_WORKER_ENV:
    "переменные рабочих сервисов, важнее которых то, что даёт менеджер, например `KAFKA_USER=user-streamforge-worker`",
  STREAMFORGE_K8S_WORKER_SECRETS: "секреты, чьи ключи становятся переменными рабочих сервисов",
  STREAMFORGE_KAFKA_SASL_MECHANISM: "как пользователь подтверждает, кто он",
  STREAMFORGE_KAFKA_SECURITY_PROTOCOL: "как соединяться с брокерами",
  STREAMFORGE_LAUNCHER:
    "что запускает рабочие сервисы: процессы этой машины или Jobs кластера Kubernetes; переменные ниже — для второго",
  STREAMFORGE_LEASE_SECONDS:
    "сколько менеджер хранилища, доступного и другим, может молчать в нём, прежде чем его место займёт другой",
  STREAMFORGE_LEAVING_SECONDS:
    "сколько рабочий сервис работает после SIGTERM, пока ему не велят остановиться: за это время другая попытка может заменить его без пропуска",
  STREAMFORGE_LIVE_STOP_SECONDS:
    "за сколько кончается рабочий процесс потока, который просят остановиться, даже если хранилище не отвечает; о несохранённом он говорит, и повтор его сохраняет",
  STREAMFORGE_LOG_FORMAT: "вид строк лога",
  STREAMFORGE_MAX_ASKING_FAILURES:
    "сколько раз подряд биржа может не ответить, до запуска или при доказательстве, прежде чем рабочий процесс окончится ошибкой",
  STREAMFORGE_MAX_FAILURES: "сколько попыток шага могут не удаться, прежде чем рабочий процесс окончится ошибкой",
  STREAMFORGE_MAX_RUNNING: "сколько рабочих процессов идут сразу; другие ждут",
  STREAMFORGE_MAX_STARTING:
    "сколько процессов рабочих сервисов начинают сразу на этой машине; другие ждут очереди; задания кластера не ограничены",
  STREAMFORGE_METRICS_HOST: "адрес, на котором слушает `/metrics`",
  STREAMFORGE_METRICS_PORT: "порт для `/metrics`; 0 — любой свободный",
  STREAMFORGE_OBJECTS_URL:
    "где лежат объекты (наборы данных, удалённое по сроку хранения): `s3://BUCKET[/PREFIX]`, `file:///PATH` или путь",
  STREAMFORGE_OPERATOR_TOKEN: "токен одного оператора",
  STREAMFORGE_ORPHAN_SECONDS:
    "рабочие сервисы сами завершаются, если им так долго ничего не сообщали (0 — работают дальше); вернувшийся менеджер делает их попытки снова",
  STREAMFORGE_PLUGINS:
    "файлы видов записей и рабочих сервисов, которых нет в StreamForge: пути файлов `.py` или папок с ними, через запятую",
  STREAMFORGE_PORT: "порт API; 0 — любой свободный",
  STREAMFORGE_READER_TOKEN: "токен одного читателя",
  STREAMFORGE_REQUEST_ATTEMPTS: "сколько раз посылается один запрос к бирже, прежде чем он считается неудачным",
  STREAMFORGE_REQUEST_BACKOFF_SECONDS:
    "половина самой долгой паузы после первой неудачи запроса; с каждой следующей она вдвое дольше",
  STREAMFORGE_REQUEST_TIMEOUT_SECONDS: "сколько ждать одного ответа биржи; сама она прекращает через 10 с",
  STREAMFORGE_RETENTION:
    "сколько дней хранить коллекции после их новейшей записи, как в `*_1m_*=365,*=1825`: действует первый образец, под который подходит имя; более старое выгружается, затем удаляется",
  STREAMFORGE_RETENTION_DIR:
    "папка, в которую старые коллекции выгружаются перед удалением (`NAME/TRY/00001.jsonl.gz`, …)",
  STREAMFORGE_S3_ACCESS_KEY: "идентификатор ключа",
  STREAMFORGE_S3_ACCESS_KEY_FILE: "вместо этого файл с ним; его можно заменить в любое время",
  STREAMFORGE_S3_ALLOW_HTTP: "разрешить http и не на loopback: по пути объекты сможет прочитать любой",
  STREAMFORGE_S3_CA_PATH: "PEM-файл ЦС, подписавшего сертификат сервера",
  STREAMFORGE_S3_ENDPOINT:
    "сервер S3, `https://HOST[:PORT]`; http только на loopback или с `STREAMFORGE_S3_ALLOW_HTTP`",
  STREAMFORGE_S3_PATH_STYLE: "обращаться к бакету как `HOST/BUCKET`; false — как `BUCKET.HOST`, как предпочитает AWS",
  STREAMFORGE_S3_REGION: "регион бакета",
  STREAMFORGE_S3_SECRET_KEY: "сам ключ",
  STREAMFORGE_S3_SECRET_KEY_FILE: "вместо этого файл с ним; его можно заменить в любое время",
  STREAMFORGE_S3_SESSION_TOKEN: "токен ключа, который действует некоторое время",
  STREAMFORGE_SEGMENT_DAYS:
    "сколько дней хранить сегменты книг заявок после их новейшего изменения; более старые удаляются, и книги их времени — `expired`",
  STREAMFORGE_SHADOW:
    "пишет другая попытка того же шага: держать приходящее, пока команда `takeover` не скажет, что та кончилась",
  STREAMFORGE_SILENT_SECONDS: "рабочий сервис, который столько времени молчит, останавливают",
  STREAMFORGE_START_SECONDS:
    "рабочий сервис, который столько времени не начинает, останавливают, если он не ждёт места в кластере",
  STREAMFORGE_STOP_SECONDS:
    "столько времени есть у рабочего сервиса, который просят остановиться, потом его задание завершают",
  STREAMFORGE_STREAM_CA_PATH: "PEM-файл ЦС, подписавшего сертификат сервера; его можно заменить в любое время",
  STREAMFORGE_STREAM_URL: "адрес потоков биржи, `wss://HOST:PORT`, с `/ws` на конце или без",
  STREAMFORGE_STUCK_SECONDS: "рабочий сервис, у которого столько времени нет продвижения, останавливают",
  STREAMFORGE_TOKENS_FILE: "файл со строками `reader:TOKEN` или `operator:NAME:TOKEN`; они открывают API",
  STREAMFORGE_TOPIC_RETENTION_SECONDS: "сколько после окончания остаётся тема данных",
  STREAMFORGE_TOTAL_CONNECTS:
    "сколько соединений с потоками биржи все загрузчики вместе могут пытаться установить за любые пять минут; Binance разрешает адресу 300",
  STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE: "вес запросов к бирже, который делят все загрузчики",
  STREAMFORGE_VERIFY_HOURS:
    "как часто каждый ряд пересчитывается в хранилище и сравнивается с покрытием, пока менеджер работает (первый раз через десять минут; 0 — никогда сам)",
  STREAMFORGE_VERIFY_REPAIR: "самому загружать снова то, чего такая проверка не находит в хранилище",
  STREAMFORGE_WORKER_KAFKA_PASSWORD: "пароль для `STREAMFORGE_WORKER_KAFKA_USER`",
  STREAMFORGE_WORKER_KAFKA_USER:
    "под каким именем рабочие сервисы входят к брокерам, чтобы им не нужны были права менеджера",
};

export const UNITS: Readonly<Record<string, string>> = {
  bytes: "байтов",
  connections: "соединений",
  "connections in five minutes": "соединений за пять минут",
  days: "дней",
  hours: "часов",
  loaders: "загрузчиков",
  processes: "процессов",
  seconds: "секунд",
  "weight per minute": "веса в минуту",
  workflows: "рабочих процессов",
};
