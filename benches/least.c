/* Copies a tree with the fewest calls that a copy can have: the limit that benches/rivals.py
 * measures beside the copiers. It hashes nothing, promises nothing, and checks little.
 *
 *     least THREADS SOURCE TARGET [whole] [clone]
 *
 * For each file: openat, fstat, read, openat with O_EXCL, write, futimens, and close twice. At the
 * end: one syncfs. A file of more than BUFFER_BYTES takes more reads and writes. Each thread takes
 * a directory, makes its counterpart, and copies what is in it.
 *
 * With `whole` a file is made by O_TMPFILE, and linkat gives it its name when it is written. That
 * is the least for a copier that promises that no name leads to a half of a file. With `clone`, one
 * FICLONE takes the place of reading and writing. */

#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER_BYTES = 1 << 20 };

struct task {
    struct task *next;
    char *source, *target;
};

/* Whether a file has its name only when it is written. */
static int whole;
/* Whether it shares its source's blocks. */
static int cloned;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;
static struct task *tasks;
/* Directories that are waiting or in hand. */
static long unfinished;

static char *join(const char *folder, const char *name) {
    char *path;
    if (asprintf(&path, "%s/%s", folder, name) < 0)
        err(1, "asprintf");
    return path;
}

static void push(char *source, char *target) {
    struct task *task = malloc(sizeof *task);
    if (!task)
        err(1, "malloc");
    pthread_mutex_lock(&lock);
    *task = (struct task){tasks, source, target};
    tasks = task;
    unfinished++;
    pthread_cond_signal(&more);
    pthread_mutex_unlock(&lock);
}

static void copy_file(int from_folder, int to_folder, const char *name, char *buffer) {
    struct stat stat;
    ssize_t count;
    off_t left;
    int from = openat(from_folder, name, O_RDONLY | O_CLOEXEC);
    if (from < 0 || fstat(from, &stat))
        err(1, "open %s", name);
    int flags = O_WRONLY | O_CLOEXEC | (whole ? O_TMPFILE : O_CREAT | O_EXCL);
    int to = openat(to_folder, whole ? "." : name, flags, stat.st_mode & 0777);
    if (to < 0)
        err(1, "create %s", name);
    if (cloned && ioctl(to, FICLONE, from))
        err(1, "clone %s", name);
    for (left = cloned ? 0 : stat.st_size; left > 0; left -= count) {
        count = read(from, buffer, BUFFER_BYTES);
        if (count <= 0 || write(to, buffer, count) != count)
            err(1, "copy %s", name);
    }
    struct timespec times[2] = {stat.st_atim, stat.st_mtim};
    if (futimens(to, times) || (whole && linkat(to, "", to_folder, name, AT_EMPTY_PATH)) ||
        close(to) || close(from))
        err(1, "finish %s", name);
}

static void copy_link(int from_folder, int to_folder, const char *name) {
    char text[4096];
    ssize_t count = readlinkat(from_folder, name, text, sizeof text - 1);
    if (count < 0)
        err(1, "readlink %s", name);
    text[count] = 0;
    if (symlinkat(text, to_folder, name))
        err(1, "symlink %s", name);
}

static void copy_folder(struct task *task, char *buffer) {
    DIR *folder = opendir(task->source);
    struct dirent *entry;
    if (!folder || mkdir(task->target, 0777))
        err(1, "%s", task->target);
    int to = open(task->target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (to < 0)
        err(1, "%s", task->target);
    while (errno = 0, (entry = readdir(folder))) {
        const char *name = entry->d_name;
        if (!strcmp(name, ".") || !strcmp(name, ".."))
            continue;
        if (entry->d_type == DT_DIR)
            push(join(task->source, name), join(task->target, name));
        else if (entry->d_type == DT_REG)
            copy_file(dirfd(folder), to, name, buffer);
        else if (entry->d_type == DT_LNK)
            copy_link(dirfd(folder), to, name);
        else
            errx(1, "%s is neither a file, a link nor a directory", name);
    }
    if (errno || closedir(folder) || close(to))
        err(1, "%s", task->source);
}

static void *work(void *unused) {
    char *buffer = malloc(BUFFER_BYTES);
    if (!buffer)
        err(1, "malloc");
    pthread_mutex_lock(&lock);
    while (unfinished) {
        struct task *task = tasks;
        if (!task) {
            pthread_cond_wait(&more, &lock);
            continue;
        }
        tasks = task->next;
        pthread_mutex_unlock(&lock);
        copy_folder(task, buffer);
        free(task->source), free(task->target), free(task);
        pthread_mutex_lock(&lock);
        if (!--unfinished)
            pthread_cond_broadcast(&more);
    }
    pthread_mutex_unlock(&lock);
    free(buffer);
    return unused;
}

int main(int count, char **arguments) {
    for (int i = 4; i < count; i++) {
        whole |= !strcmp(arguments[i], "whole");
        cloned |= !strcmp(arguments[i], "clone");
    }
    int threads = count >= 4 && count == 4 + whole + cloned ? atoi(arguments[1]) : 0;
    if (threads < 1 || threads > 64)
        errx(2, "usage: least THREADS SOURCE TARGET [whole] [clone], with 1 to 64 threads");
    pthread_t all[64];
    push(strdup(arguments[2]), strdup(arguments[3]));
    for (int i = 0; i < threads; i++)
        if ((errno = pthread_create(&all[i], NULL, work, NULL)))
            err(1, "pthread_create");
    for (int i = 0; i < threads; i++)
        pthread_join(all[i], NULL);
    int target = open(arguments[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (target < 0 || syncfs(target))
        err(1, "syncfs %s", arguments[3]);
    return 0;
}
