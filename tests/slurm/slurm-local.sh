#!/usr/bin/env bash
# slurm-local.sh - a real Slurm cluster (munge + MariaDB + slurmdbd + slurmctld +
# one slurmd per node) on ONE Debian/Ubuntu machine, without systemd, for CI and tests.
#
#   slurm-local.sh start  [DIR]   install what is missing, configure, start, wait for idle nodes
#   slurm-local.sh stop   [DIR]   stop only what `start` started (pid files + start times)
#   slurm-local.sh status [DIR]   daemons and sinfo; exit 0 only if everything is healthy
#   slurm-local.sh env    [DIR]   print `export ...` lines:  eval "$(slurm-local.sh env)"
#   slurm-local.sh purge  [DIR]   stop, then remove DIR
#   slurm-local.sh lose   DIR NODE   a node fails: its slurmd and all that it runs get SIGKILL, and it is down
#   slurm-local.sh mend   DIR NODE   it comes back
#
# Every file lives under DIR (default $SLURM_LOCAL_DIR or ${TMPDIR:-/tmp}/tokalign-slurm).  The only
# file outside is the link /etc/slurm/slurm.conf -> DIR/etc/slurm.conf, made by `start`
# if nothing is there and removed by `stop`: snakemake-executor-plugin-slurm-jobstep
# strips SLURM_CONF from a job's environment before it calls srun, so that a cluster
# known by SLURM_CONF alone (see `env`) does not work with Snakemake.  Daemons listen on
# 127.0.0.1 (slurmdbd of Slurm 22.05 cannot be told to; it listens on all addresses and
# takes munge-signed requests only).  Nodes are fake (declared bigger than the machine);
# nothing is enforced by cgroups.  Must run as root.  Reads no stdin.
#
# Settings (environment), applied by the next `start` of a stopped cluster:
#   SLURM_LOCAL_DIR        ${TMPDIR:-/tmp}/tokalign-slurm
#   SLURM_LOCAL_PORT_BASE  26800   26800 mariadb, +1 slurmdbd, +2 slurmctld, +10.. slurmd
#   SLURM_LOCAL_CPU_NODES  2       nodes cpu01.. of partition cpu
#   SLURM_LOCAL_CPU_CPUS   8       CPUs declared per cpu node
#   SLURM_LOCAL_CPU_MEM    32000   MB declared per cpu node
#   SLURM_LOCAL_GPU_NODES  1       nodes h100-01.. of partition h100
#   SLURM_LOCAL_GPU_CPUS   32      CPUs declared per h100 node
#   SLURM_LOCAL_GPU_MEM    256000  MB declared per h100 node
#   SLURM_LOCAL_GPUS       4       fake GPUs per h100 node (gres gpu:h100)
#   SLURM_LOCAL_OOM        1       1: kill jobs whose RSS exceeds --mem (polled every second;
#                                  the job's state is FAILED, not OUT_OF_MEMORY, which needs
#                                  cgroups; its log says "exceeded memory limit");
#                                  0: memory is only counted
#   SLURM_LOCAL_USERS      root    users put into account `research` (space separated)
#   SLURM_LOCAL_INSTALL    1       0: never call apt-get, fail if something is missing
set -euo pipefail
exec </dev/null
umask 022
export LC_ALL=C

VERB=${1:-}
BASE=${2:-${SLURM_LOCAL_DIR:-${TMPDIR:-/tmp}/tokalign-slurm}}
case $BASE in /*) ;; *) BASE=$PWD/$BASE ;; esac

PORT_BASE=${SLURM_LOCAL_PORT_BASE:-26800}
CPU_NODES=${SLURM_LOCAL_CPU_NODES:-2}
CPU_CPUS=${SLURM_LOCAL_CPU_CPUS:-8}
CPU_MEM=${SLURM_LOCAL_CPU_MEM:-32000}
GPU_NODES=${SLURM_LOCAL_GPU_NODES:-1}
GPU_CPUS=${SLURM_LOCAL_GPU_CPUS:-32}
GPU_MEM=${SLURM_LOCAL_GPU_MEM:-256000}
GPUS=${SLURM_LOCAL_GPUS:-4}
OOM=${SLURM_LOCAL_OOM:-1}
USERS=${SLURM_LOCAL_USERS:-root}
INSTALL=${SLURM_LOCAL_INSTALL:-1}

CLUSTER=local
PORT_DB=$PORT_BASE
PORT_DBD=$((PORT_BASE + 1))
PORT_CTLD=$((PORT_BASE + 2))
PORT_NODE=$((PORT_BASE + 10))
PATH=$PATH:/usr/sbin:/sbin
export SLURM_CONF=$BASE/etc/slurm.conf

say() { printf 'slurm-local: %s\n' "$*" >&2; }
die() { say "ERROR: $*"; exit 1; }

nodes() { # all node names, one a line
    local i
    for ((i = 1; i <= CPU_NODES; i++)); do printf 'cpu%02d\n' "$i"; done
    for ((i = 1; i <= GPU_NODES; i++)); do printf 'h100-%02d\n' "$i"; done
}
node_list() { nodes | paste -sd, -; }

# ---- processes: a pid file holds "PID STARTTIME"; both must match to count as ours ----
start_time() { # PID -> start time in clock ticks (field 22 of /proc/PID/stat), or nothing
    local s
    s=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    s=${s##*) } # the command name may hold blanks
    # shellcheck disable=SC2086
    set -- $s
    [ "$1" != Z ] || return 1
    printf '%s\n' "${20}"
}
alive() { # NAME
    local pid t
    read -r pid t 2>/dev/null <"$BASE/pids/$1" || return 1
    [ -n "$pid" ] && [ "$(start_time "$pid" || true)" = "$t" ]
}
spawn() { # NAME COMMAND... : in its own session, detached, output in log/NAME.out
    local name=$1 pid
    shift
    setsid "$@" >"$BASE/log/$name.out" 2>&1 </dev/null 9>&- &
    pid=$!
    disown "$pid" 2>/dev/null || true
    printf '%s %s\n' "$pid" "$(start_time "$pid" || echo 0)" >"$BASE/pids/$name"
}
stop_one() { # NAME [SECONDS]
    local name=$1 limit=${2:-15} pid t i
    if alive "$name"; then
        read -r pid t <"$BASE/pids/$name"
        kill -TERM "$pid" 2>/dev/null || true
        for ((i = 0; i < limit * 10; i++)); do
            alive "$name" || break
            sleep 0.1
        done
        if alive "$name"; then
            say "$name ($pid) ignored SIGTERM for ${limit}s; SIGKILL"
            kill -KILL "$pid" 2>/dev/null || true
        fi
    fi
    rm -f "$BASE/pids/$name"
}
port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
wait_for() { # SECONDS WHAT DAEMON COMMAND...
    local end=$((SECONDS + $1)) limit=$1 what=$2 daemon=$3
    shift 3
    while [ "$SECONDS" -le "$end" ]; do
        if "$@" >/dev/null 2>&1; then return 0; fi
        if ! alive "$daemon"; then
            tail -n 30 "$BASE/log/$daemon.out" "$BASE/log/$daemon.log" 2>/dev/null >&2 || true
            die "$daemon died while waiting for $what (logs: $BASE/log)"
        fi
        sleep 0.2
    done
    tail -n 30 "$BASE/log/$daemon.out" "$BASE/log/$daemon.log" 2>/dev/null >&2 || true
    die "timed out after ${limit}s waiting for $what (logs: $BASE/log)"
}

# ---- packages ----
missing() {
    local c
    for c in munged slurmctld slurmd slurmdbd sacct sacctmgr sinfo mariadbd mariadb mariadb-install-db; do
        command -v "$c" >/dev/null 2>&1 || printf '%s ' "$c"
    done
    compgen -G '/usr/lib/*/slurm*/accounting_storage_mysql.so' >/dev/null || printf 'slurm-wlm-mysql-plugin '
}
install_packages() {
    local lack t0=$SECONDS policy=/usr/sbin/policy-rc.d made=0
    lack=$(missing)
    [ -n "$lack" ] || return 0
    [ "$INSTALL" = 1 ] || die "missing: $lack (SLURM_LOCAL_INSTALL=0)"
    command -v apt-get >/dev/null || die "missing: $lack and no apt-get here"
    say "installing (missing: $lack)"
    # Keep the packages from starting services of their own.
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && made=1
    fi
    # mariadb-server-core + client-core, not mariadb-server: no perl, no init script,
    # no data directory in /var.
    {
        DEBIAN_FRONTEND=noninteractive apt-get update &&
            DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
                munge slurmctld slurmd slurmdbd slurm-client \
                mariadb-server-core mariadb-client-core
    } >"$BASE/log/apt.log" 2>&1 9>&- || {
        [ $made = 0 ] || rm -f "$policy"
        tail -n 20 "$BASE/log/apt.log" >&2
        die "apt-get failed (log: $BASE/log/apt.log)"
    }
    [ $made = 0 ] || rm -f "$policy"
    lack=$(missing)
    [ -z "$lack" ] || die "still missing after installation: $lack"
    say "packages installed in $((SECONDS - t0)) s"
}

# ---- configuration ----
write_config() {
    local i port gather
    mkdir -p "$BASE"/{etc,log,pids,run,spool,state,dev}
    chmod 755 "$BASE" "$BASE"/{etc,log,run,spool,state,dev}
    mkdir -p "$BASE/munge" && chmod 700 "$BASE/munge"
    if [ ! -s "$BASE/munge/key" ]; then
        (umask 077 && head -c 128 /dev/urandom >"$BASE/munge/key")
    fi
    if [ ! -s "$BASE/etc/db-password" ]; then
        (umask 077 && od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$BASE/etc/db-password")
    fi

    (
        umask 077
        cat >"$BASE/etc/slurmdbd.conf" <<EOF
# written by slurm-local.sh
AuthType=auth/munge
AuthInfo=socket=$BASE/run/munge.sock
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$PORT_DBD
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$PORT_DB
StorageUser=slurm
StoragePass=$(cat "$BASE/etc/db-password")
StorageLoc=slurm_acct_db
LogFile=$BASE/log/slurmdbd.log
PidFile=$BASE/run/slurmdbd.pid
DebugLevel=info
EOF
    )

    # Fake GPUs: clones of /dev/null.  They must be device files, or slurmd drops them and
    # sets no CUDA_VISIBLE_DEVICES.  Where mknod is forbidden the GPUs are only counted.
    local devices=1
    for ((i = 0; i < GPUS; i++)); do
        [ -c "$BASE/dev/nvidia$i" ] || { rm -f "$BASE/dev/nvidia$i"; mknod -m 666 "$BASE/dev/nvidia$i" c 1 3 2>/dev/null || devices=0; }
    done
    [ $devices = 1 ] || say "mknod is not allowed here: jobs will get no CUDA_VISIBLE_DEVICES"

    cat >"$BASE/etc/cgroup.conf" <<EOF
# written by slurm-local.sh: no cgroup is used
CgroupAutomount=no
ConstrainCores=no
ConstrainRAMSpace=no
ConstrainDevices=no
EOF
    # CgroupPlugin=disabled exists from Slurm 23.02 on; 22.05 refuses it.
    case $(slurmctld -V) in
    *" 2"[01].* | *" 22."*) ;;
    *) echo "CgroupPlugin=disabled" >>"$BASE/etc/cgroup.conf" ;;
    esac

    {
        echo "# written by slurm-local.sh"
        for ((i = 1; i <= GPU_NODES; i++)); do
            if [ $devices = 0 ]; then
                printf 'NodeName=h100-%02d Name=gpu Type=h100 Count=%d\n' "$i" "$GPUS"
            elif [ "$GPUS" -gt 1 ]; then
                printf 'NodeName=h100-%02d Name=gpu Type=h100 File=%s/dev/nvidia[0-%d]\n' "$i" "$BASE" $((GPUS - 1))
            else
                printf 'NodeName=h100-%02d Name=gpu Type=h100 File=%s/dev/nvidia0\n' "$i" "$BASE"
            fi
        done
    } >"$BASE/etc/gres.conf"

    gather=NoShared
    [ "$OOM" != 1 ] || gather=NoShared,OverMemoryKill

    cat >"$SLURM_CONF" <<EOF
# written by slurm-local.sh
ClusterName=$CLUSTER
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=$PORT_CTLD
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# cred_expire is also how long a requeued (preempted) job waits; the default is 120 s
AuthInfo=socket=$BASE/run/munge.sock,cred_expire=15
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$BASE/state
SlurmdSpoolDir=$BASE/spool/%n
SlurmctldPidFile=$BASE/run/slurmctld.pid
SlurmdPidFile=$BASE/run/slurmd-%n.pid
SlurmctldLogFile=$BASE/log/slurmctld.log
SlurmdLogFile=$BASE/log/slurmd-%n.log
SlurmctldDebug=info
SlurmdDebug=info
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
ReturnToService=2
PropagateResourceLimits=NONE
# believe the node lines below, not the hardware
SlurmdParameters=config_overrides
# quick reactions: tests wait for these
KillWait=5
InactiveLimit=0
SlurmctldTimeout=60
SlurmdTimeout=60
BatchStartTimeout=30
MessageTimeout=30
MinJobAge=300
JobRequeue=1
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=5,sched_min_interval=0,bf_interval=2,bf_max_job_test=500,requeue_delay=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
DefMemPerCPU=1000
EnforcePartLimits=ALL
PriorityType=priority/multifactor
PriorityWeightQOS=1000
PreemptType=preempt/qos
PreemptMode=REQUEUE
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=$gather
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$PORT_DBD
AccountingStoragePass=$BASE/run/munge.sock
AccountingStorageEnforce=associations,limits,qos
AccountingStorageTRES=gres/gpu,gres/gpu:h100
AccountingStoreFlags=job_comment
EOF
    port=$PORT_NODE
    {
        for ((i = 1; i <= CPU_NODES; i++)); do
            printf 'NodeName=cpu%02d NodeHostname=localhost NodeAddr=127.0.0.1 Port=%d CPUs=%d RealMemory=%d Feature=cpu State=UNKNOWN\n' \
                "$i" "$port" "$CPU_CPUS" "$CPU_MEM"
            port=$((port + 1))
        done
        for ((i = 1; i <= GPU_NODES; i++)); do
            printf 'NodeName=h100-%02d NodeHostname=localhost NodeAddr=127.0.0.1 Port=%d CPUs=%d RealMemory=%d Gres=gpu:h100:%d Feature=gpu,h100 State=UNKNOWN\n' \
                "$i" "$port" "$GPU_CPUS" "$GPU_MEM" "$GPUS"
            port=$((port + 1))
        done
        printf 'PartitionName=cpu Nodes=%s Default=YES MaxTime=1-00:00:00 DefaultTime=00:10:00 State=UP\n' "$(nodes | grep '^cpu' | paste -sd, -)"
        # the partition QOS refuses jobs that ask for no GPU
        printf 'PartitionName=h100 Nodes=%s Default=NO MaxTime=1-00:00:00 DefaultTime=00:10:00 QOS=part_h100 State=UP\n' "$(nodes | grep '^h100' | paste -sd, -)"
    } >>"$SLURM_CONF"

    cat >"$BASE/env.sh" <<EOF
export SLURM_CONF=$SLURM_CONF
EOF
}

# ---- the link in /etc/slurm ----
ETC_LINK=/etc/slurm/slurm.conf
link_etc() {
    mkdir -p "${ETC_LINK%/*}"
    if [ -L "$ETC_LINK" ] && [ ! -e "$ETC_LINK" ]; then rm -f "$ETC_LINK"; fi # dangling
    if [ ! -e "$ETC_LINK" ]; then
        ln -s "$SLURM_CONF" "$ETC_LINK" 2>/dev/null || say "cannot write $ETC_LINK: srun inside Snakemake jobs will fail"
    elif [ "$(readlink -f "$ETC_LINK")" != "$(readlink -f "$SLURM_CONF")" ]; then
        say "$ETC_LINK belongs to another cluster: srun inside Snakemake jobs will talk to that one"
    fi
}
unlink_etc() {
    [ ! -L "$ETC_LINK" ] || [ "$(readlink "$ETC_LINK")" != "$SLURM_CONF" ] || rm -f "$ETC_LINK"
}

# ---- daemons ----
sql() { mariadb --no-defaults --protocol=socket --socket="$BASE/run/mariadb.sock" -uroot "$@"; }
dbd_up() { timeout 10 sacctmgr -n -P show cluster; }
ctld_up() { timeout 10 scontrol ping | grep -q 'is UP'; }
nodes_idle() { # every node registered, not down/drained/unknown
    local n=0 name state
    while read -r name state; do
        case $state in idle | mixed | allocated | completing) n=$((n + 1)) ;; *) return 1 ;; esac
    done < <(timeout 10 sinfo -h -N -o '%N %T' | sort -u)
    [ "$n" -eq "$(nodes | wc -l)" ]
}
all_alive() {
    local d n
    for d in munged mariadb slurmdbd slurmctld; do alive "$d" || return 1; done
    for n in $(nodes); do alive "slurmd-$n" || return 1; done
}

accounts() { # idempotent; sacctmgr exits 1 when nothing changes
    local u cfg=$BASE/run/accounts.done want
    want="v1 $USERS"
    [ "$(cat "$cfg" 2>/dev/null || true)" != "$want" ] || return 0
    if [ -z "$(sacctmgr -n -P show cluster "$CLUSTER" format=cluster)" ]; then
        sacctmgr -i -Q add cluster "$CLUSTER"
    fi
    sacctmgr -i -Q add qos high scavenger part_h100 >/dev/null || true
    sacctmgr -i -Q modify qos high set priority=100 preempt=normal,scavenger >/dev/null || true
    sacctmgr -i -Q modify qos normal set priority=10 preempt=scavenger >/dev/null || true
    sacctmgr -i -Q modify qos scavenger set priority=1 preemptmode=requeue >/dev/null || true
    sacctmgr -i -Q add account research description=research organization=local qos=normal,high,scavenger defaultqos=normal >/dev/null || true
    for u in $USERS; do
        sacctmgr -i -Q add user "$u" account=research defaultaccount=research >/dev/null || true
        sacctmgr -i -Q modify user "$u" set defaultaccount=research >/dev/null || true
    done
    printf '%s\n' "$want" >"$cfg"
}
part_qos() { # needs the gres/gpu TRES, which slurmctld registers on its first start
    sacctmgr -n -P show qos part_h100 format=mintres | grep -q gres/gpu ||
        sacctmgr -i -Q modify qos part_h100 set MinTRESPerJob=gres/gpu=1 flags=DenyOnLimit >/dev/null || true
}

start_all() {
    local t0=$SECONDS n p
    alive munged || {
        rm -f "$BASE/run/munge.sock"*
        spawn munged munged --foreground --force --num-threads=2 \
            --key-file="$BASE/munge/key" --socket="$BASE/run/munge.sock" \
            --pid-file="$BASE/run/munged.pid" --seed-file="$BASE/munge/seed" \
            --log-file="$BASE/log/munged.log"
        wait_for 10 munge munged munge -n --socket="$BASE/run/munge.sock"
    }
    alive mariadb || {
        if [ ! -e "$BASE/mysql/.ready" ]; then
            rm -rf "$BASE/mysql" "$BASE/run/accounts.done"
            mkdir -p "$BASE/mysql"
            mariadb-install-db --no-defaults --user=root --datadir="$BASE/mysql" \
                --skip-test-db --skip-name-resolve --innodb-log-file-size=16M \
                --auth-root-authentication-method=socket >"$BASE/log/mariadb-install.out" 2>&1 ||
                die "mariadb-install-db failed: $BASE/log/mariadb-install.out"
        fi
        spawn mariadb mariadbd --no-defaults --user=root --datadir="$BASE/mysql" \
            --bind-address=127.0.0.1 --port="$PORT_DB" --socket="$BASE/run/mariadb.sock" \
            --pid-file="$BASE/run/mariadb.pid" --skip-name-resolve --skip-log-bin \
            --innodb-buffer-pool-size=128M --innodb-log-file-size=16M \
            --innodb-flush-log-at-trx-commit=0 --innodb-lock-wait-timeout=900
        wait_for 30 mariadb mariadb sql -e 'select 1'
        p=$(cat "$BASE/etc/db-password")
        sql -e "CREATE DATABASE IF NOT EXISTS slurm_acct_db;
                CREATE USER IF NOT EXISTS 'slurm'@'127.0.0.1';
                ALTER USER 'slurm'@'127.0.0.1' IDENTIFIED BY '$p';
                GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1';"
        touch "$BASE/mysql/.ready"
    }
    alive slurmdbd || {
        spawn slurmdbd slurmdbd -D
        wait_for 30 slurmdbd slurmdbd dbd_up
    }
    accounts
    alive slurmctld || {
        spawn slurmctld slurmctld -D
        wait_for 30 slurmctld slurmctld ctld_up
    }
    part_qos
    for n in $(nodes); do
        alive "slurmd-$n" || {
            mkdir -p "$BASE/spool/$n"
            spawn "slurmd-$n" slurmd -D -N "$n"
        }
    done
    # a node that was drained or down before (e.g. after an unclean stop) comes back
    wait_for 20 "registered nodes" slurmctld bash -c \
        '! sinfo -h -N -o %T | grep -q unknown'
    nodes_idle || scontrol update "nodename=$(node_list)" state=resume 2>/dev/null || true
    wait_for 30 "idle nodes" slurmctld nodes_idle
    say "cluster is up after $((SECONDS - t0)) s; use it with:  eval \"\$($0 env $BASE)\""
}

stop_all() {
    local n i jobs
    if alive slurmctld && ctld_up; then
        # end the jobs first, so that no slurmstepd outlives its slurmd
        jobs=$(squeue -h -o %A 2>/dev/null | sort -u || true)
        if [ -n "$jobs" ]; then
            # shellcheck disable=SC2086
            scancel --quiet $jobs >/dev/null 2>&1 || true
            for ((i = 0; i < 100; i++)); do
                [ -n "$(squeue -h 2>/dev/null || true)" ] || break
                sleep 0.2
            done
        fi
    fi
    for n in "$BASE"/pids/slurmd-*; do
        [ -e "$n" ] && stop_one "$(basename "$n")"
    done
    stop_one slurmctld
    stop_one slurmdbd
    stop_one mariadb 30
    stop_one munged
    unlink_etc
    rm -f "$BASE"/run/*.sock "$BASE"/run/*.lock
}

lose_node() { # NODE: as if its plug were pulled, and Slurm had noticed
    local pid t p steps=() tasks=()
    read -r pid t <"$BASE/pids/slurmd-$1"
    for p in /proc/[0-9]*; do # what jobs run has the node's name in its environment, and a slurmstepd as parent
        grep -qzx "SLURMD_NODENAME=$1" "$p/environ" 2>/dev/null || continue
        tasks+=("${p#/proc/}")
        t=$(awk '/^PPid:/ { print $2 }' "$p/status" 2>/dev/null || true)
        [ "$(cat "/proc/$t/comm" 2>/dev/null || true)" != slurmstepd ] || steps+=("$t")
    done
    kill -KILL "$pid" ${steps[@]+"${steps[@]}"} ${tasks[@]+"${tasks[@]}"} 2>/dev/null || true
    scontrol update "nodename=$1" state=down reason=lost # else slurmctld would find out after SlurmdTimeout
}
mend_node() { # NODE
    alive "slurmd-$1" || spawn "slurmd-$1" slurmd -D -N "$1"
    # it registers, and ReturnToService takes it back
    # shellcheck disable=SC2016
    wait_for 30 "node $1" slurmctld bash -c 'sinfo -h -n "$0" -o %T | grep -qE "^(idle|mixed|allocated|completing)$"' "$1"
}

show_status() {
    local d rc=0
    for d in munged mariadb slurmdbd slurmctld $(nodes | sed 's/^/slurmd-/'); do
        if alive "$d"; then
            printf '%-16s running (pid %s)\n' "$d" "$(cut -d' ' -f1 "$BASE/pids/$d")"
        else
            printf '%-16s not running\n' "$d"
            rc=1
        fi
    done
    [ "$(readlink -f "$ETC_LINK" 2>/dev/null)" = "$(readlink -f "$SLURM_CONF")" ] || echo "$ETC_LINK does not lead to this cluster"
    if [ $rc = 0 ]; then
        sinfo -N -o '%10N %10P %8T %6c %8m %14G %E' || rc=1
        nodes_idle || rc=1
        sacct -n -X -S now >/dev/null 2>&1 || { echo "sacct does not answer"; rc=1; }
    fi
    return $rc
}

locked() { # one start/stop at a time per DIR
    mkdir -p "$BASE"/{log,pids,run}
    exec 9>"$BASE/.lock"
    flock -w 120 9 || die "another slurm-local.sh is at work on $BASE"
}

# A running cluster keeps the shape it was started with.
# shellcheck disable=SC1091
[ ! -r "$BASE/shape" ] || [ ! -e "$BASE/pids/slurmctld" ] || . "$BASE/shape"

case $VERB in
start)
    [ "$(id -u)" = 0 ] || die "must run as root"
    locked
    if all_alive && nodes_idle; then
        say "already running in $BASE"
        exit 0
    fi
    install_packages
    stop_all # leftovers of a half-dead cluster
    for p in "$PORT_DB" "$PORT_DBD" "$PORT_CTLD" $(seq "$PORT_NODE" $((PORT_NODE + CPU_NODES + GPU_NODES - 1))); do
        ! port_open "$p" || die "port $p is taken; set SLURM_LOCAL_PORT_BASE"
    done
    write_config
    link_etc
    printf '%s=%q\n' PORT_BASE "$PORT_BASE" CPU_NODES "$CPU_NODES" GPU_NODES "$GPU_NODES" >"$BASE/shape"
    start_all
    ;;
stop)
    [ "$(id -u)" = 0 ] || die "must run as root"
    [ -d "$BASE" ] || { say "nothing in $BASE"; exit 0; }
    locked
    stop_all
    say "stopped ($BASE kept)"
    ;;
purge)
    [ "$(id -u)" = 0 ] || die "must run as root"
    [ -d "$BASE" ] || exit 0
    [ -e "$BASE/.lock" ] || die "$BASE does not look like a slurm-local directory"
    locked
    stop_all
    rm -rf "$BASE"
    ;;
lose | mend)
    [ "$(id -u)" = 0 ] || die "must run as root"
    [ -e "$BASE/pids/slurmd-${3:-}" ] || die "no node ${3:-} in $BASE"
    locked
    "${VERB}_node" "$3"
    ;;
status) show_status ;;
env) cat "$BASE/env.sh" ;;
*)
    sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "$0"
    exit 2
    ;;
esac
