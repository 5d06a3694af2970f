/* SPDX-License-Identifier: Apache-2.0
 * The agent's pure parts: fence, workload, supervisor, update queue, ids, spec and exit record. */
#include "../lib/cmocka_all.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "agent/fence.h"
#include "agent/spec.h"
#include "agent/supervisor.h"
#include "agent/launch_key.h"
#include "agent/updates.h"
#include "agent/workload.h"

static struct fence fence(uint8_t cluster, uint32_t incarnation, uint64_t term) {
    struct fence f = {.set = true, .incarnation = incarnation, .term = term};
    memset(f.cluster_id, cluster, sizeof f.cluster_id);
    return f;
}

static void a_fence_below_the_highest_is_refused(void **state) {
    (void)state;
    struct fence high = fence(1, 2, 7), same = fence(1, 2, 7), older = fence(1, 2, 6), newer = fence(1, 2, 8);
    assert_int_equal(fence_judge(&high, NULL, &same), FENCE_SAME);
    assert_int_equal(fence_judge(&high, NULL, &older), FENCE_OLDER);
    assert_int_equal(fence_judge(&high, NULL, &newer), FENCE_NEWER);
    struct fence restored = fence(1, 3, 1), before = fence(1, 1, 99);
    assert_int_equal(fence_judge(&high, NULL, &restored), FENCE_NEWER);
    assert_int_equal(fence_judge(&high, NULL, &before), FENCE_OLDER);
}

static void another_cluster_is_a_stranger_at_any_term(void **state) {
    (void)state;
    struct fence high = fence(1, 1, 1), other = fence(2, 9, 9), none = {0};
    assert_int_equal(fence_judge(&high, NULL, &other), FENCE_STRANGER);
    assert_int_equal(fence_judge(&none, NULL, &other), FENCE_NEWER);
    assert_int_equal(fence_judge(&none, high.cluster_id, &other), FENCE_STRANGER);
}

static void a_fence_file_with_any_flipped_bit_is_refused(void **state) {
    (void)state;
    struct fence f = fence(7, 3, 1234567890123), back;
    uint8_t bytes[FENCE_BYTES];
    fence_encode(&f, bytes);
    assert_int_equal(fence_decode(bytes, sizeof bytes, &back, NULL), 0);
    assert_true(back.set && back.term == f.term && back.incarnation == 3);
    for (size_t bit = 0; bit < sizeof bytes * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_not_equal(fence_decode(bytes, sizeof bytes, &back, NULL), 0);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(fence_decode(bytes, sizeof bytes - 1, &back, NULL), ERR_CORRUPT);
}

static struct workload_change step(struct workload *w, enum workload_event event, struct workload_outcome o) {
    struct workload_change change;
    assert_true(workload_step(w, event, &o, &change));
    return change;
}

static struct workload running(uint64_t at_ms) {
    struct workload w;
    workload_init(&w);
    (void)step(&w, WORKLOAD_SPAWNED, (struct workload_outcome){0});
    (void)step(&w, WORKLOAD_UP, (struct workload_outcome){.pid = 42, .at_ms = at_ms});
    return w;
}

static void a_command_that_exits_0_is_running_then_finished(void **state) {
    (void)state;
    struct workload w;
    workload_init(&w);
    assert_int_equal(step(&w, WORKLOAD_SPAWNED, (struct workload_outcome){0}).update_n, 0);
    struct workload_change c = step(&w, WORKLOAD_UP, (struct workload_outcome){.pid = 42, .at_ms = 5});
    assert_int_equal(c.update_n, 1);
    assert_int_equal(c.updates[0].state, TASK_RUNNING);
    c = step(&w, WORKLOAD_EXITED, (struct workload_outcome){.exit = EXIT_STATUS});
    assert_int_equal(c.update_n, 1);
    assert_int_equal(c.updates[0].state, TASK_FINISHED);
    assert_string_equal(c.updates[0].text, "Command exited with status 0");
    assert_int_equal(w.state, WORKLOAD_ENDED);
}

static void an_end_seen_before_the_start_reports_both_in_order(void **state) {
    (void)state;
    struct workload w;
    workload_init(&w);
    (void)step(&w, WORKLOAD_SPAWNED, (struct workload_outcome){0});
    struct workload_change c = step(&w, WORKLOAD_EXITED, (struct workload_outcome){.exit = EXIT_STATUS, .code = 3});
    assert_int_equal(c.update_n, 2);
    assert_int_equal(c.updates[0].state, TASK_RUNNING);
    assert_int_equal(c.updates[1].state, TASK_FAILED);
    assert_string_equal(c.updates[1].text, "Command exited with status 3");
}

static void a_killed_command_is_killed_whatever_its_status(void **state) {
    (void)state;
    struct workload w = running(5);
    (void)step(&w, WORKLOAD_KILL, (struct workload_outcome){.cause = KILL_ORDER, .at_ms = 10, .grace_ms = 100});
    struct workload_change c =
        step(&w, WORKLOAD_EXITED, (struct workload_outcome){.exit = EXIT_SIGNAL, .code = SIGTERM});
    assert_int_equal(c.updates[0].state, TASK_KILLED);
    assert_string_equal(c.updates[0].text, "Command terminated with signal Terminated");
}

static void a_kill_before_the_start_ends_the_task_unstarted(void **state) {
    (void)state;
    struct workload w;
    workload_init(&w);
    struct workload_change c = step(&w, WORKLOAD_KILL, (struct workload_outcome){.cause = KILL_ORDER});
    assert_int_equal(c.updates[0].state, TASK_KILLED);
    assert_int_equal(w.state, WORKLOAD_ENDED);
}

static void each_way_to_fail_names_its_reason(void **state) {
    (void)state;
    struct workload w = running(5);
    struct workload_change c =
        step(&w, WORKLOAD_EXITED, (struct workload_outcome){.exit = EXIT_SIGNAL, .code = SIGKILL, .oom = true});
    assert_int_equal(c.updates[0].reason, REASON_MEMORY_LIMIT);
    w = running(5);
    (void)step(&w, WORKLOAD_KILL, (struct workload_outcome){.cause = KILL_COMPLETION_TIME});
    c = step(&w, WORKLOAD_EXITED, (struct workload_outcome){.exit = EXIT_SIGNAL, .code = SIGTERM});
    assert_int_equal(c.updates[0].state, TASK_FAILED);
    assert_int_equal(c.updates[0].reason, REASON_COMPLETION_TIME);
    w = running(5);
    c = step(&w, WORKLOAD_SHIM_LOST, (struct workload_outcome){0});
    assert_int_equal(c.updates[0].state, TASK_FAILED);
    w = running(5);
    c = step(&w, WORKLOAD_REBOOTED, (struct workload_outcome){0});
    assert_int_equal(c.updates[0].state, TASK_LOST);
    workload_init(&w);
    (void)step(&w, WORKLOAD_SPAWNED, (struct workload_outcome){0});
    c = step(&w, WORKLOAD_EXITED, (struct workload_outcome){.exit = EXIT_NOT_RUN, .text = "cannot run x"});
    assert_int_equal(c.update_n, 1);
    assert_int_equal(c.updates[0].reason, REASON_LAUNCH_FAILED);
}

static void nothing_happens_after_the_end(void **state) {
    (void)state;
    for (int e = 0; e < WORKLOAD_EVENTS; e++) {
        struct workload w = running(5);
        (void)step(&w, WORKLOAD_EXITED, (struct workload_outcome){.exit = EXIT_STATUS});
        struct workload_outcome o = {.state = TASK_FAILED};
        struct workload_change c;
        assert_false(workload_step(&w, (enum workload_event)e, &o, &c));
        assert_int_equal(c.update_n, 0);
    }
}

static void a_kill_escalates_after_its_grace_and_repeats(void **state) {
    (void)state;
    uint64_t wake;
    struct workload w = running(5);
    assert_int_equal(supervisor_decide(&w, 0, 1000, &wake), SUPERVISOR_WAIT);
    assert_true(wake == UINT64_MAX);
    (void)step(&w, WORKLOAD_KILL, (struct workload_outcome){.cause = KILL_ORDER, .at_ms = 1000, .grace_ms = 500});
    assert_int_equal(supervisor_decide(&w, 0, 1000, &wake), SUPERVISOR_TERMINATE);
    w.term_sent_ms = 1000;
    assert_int_equal(supervisor_decide(&w, 0, 1499, &wake), SUPERVISOR_WAIT);
    assert_int_equal(wake, 1500);
    assert_int_equal(supervisor_decide(&w, 0, 1500, &wake), SUPERVISOR_FORCE);
    w.force_sent_ms = 1500;
    assert_int_equal(supervisor_decide(&w, 0, 1501, &wake), SUPERVISOR_WAIT);
    assert_int_equal(supervisor_decide(&w, 0, wake, &wake), SUPERVISOR_FORCE);
}

static void a_repeated_kill_may_only_shorten_the_grace(void **state) {
    (void)state;
    struct workload w = running(5);
    (void)step(&w, WORKLOAD_KILL, (struct workload_outcome){.cause = KILL_ORDER, .at_ms = 1000, .grace_ms = 5000});
    (void)step(&w, WORKLOAD_KILL, (struct workload_outcome){.cause = KILL_ORDER, .at_ms = 2000, .grace_ms = 60000});
    assert_int_equal(w.kill_since_ms + w.kill_grace_ms, 6000);
    (void)step(&w, WORKLOAD_KILL, (struct workload_outcome){.cause = KILL_ORDER, .at_ms = 3000, .grace_ms = 100});
    assert_int_equal(w.kill_since_ms + w.kill_grace_ms, 3100);
}

static void a_run_over_its_completion_time_is_ended(void **state) {
    (void)state;
    uint64_t wake;
    struct workload w = running(1000);
    assert_int_equal(supervisor_decide(&w, 250, 1249, &wake), SUPERVISOR_WAIT);
    assert_int_equal(wake, 1250);
    assert_int_equal(supervisor_decide(&w, 250, 1250, &wake), SUPERVISOR_TIME_OUT);
}

static void the_grace_is_the_orders_then_the_tasks_then_the_default(void **state) {
    (void)state;
    assert_int_equal(supervisor_grace(0, 9), 0);
    assert_int_equal(supervisor_grace(UINT64_MAX, 9), 9);
    assert_int_equal(supervisor_grace(UINT64_MAX, UINT64_MAX), SUPERVISOR_GRACE_DEFAULT_MS);
    assert_int_equal(supervisor_grace(UINT64_MAX - 1, 9), SUPERVISOR_GRACE_MAX_MS);
}

static void updates_go_out_in_order_and_only_the_head_is_acknowledged(void **state) {
    (void)state;
    struct updates u;
    uint8_t a[16] = {1}, b[16] = {2}, c[16] = {3};
    updates_init(&u);
    assert_null(updates_head(&u));
    assert_int_equal(updates_add(&u, a, TASK_RUNNING, "ra", 2), 0);
    assert_int_equal(updates_add(&u, b, TASK_FINISHED, "rb", 2), 0);
    assert_int_equal(u.latest, TASK_FINISHED);
    assert_int_equal(updates_add(&u, c, TASK_FAILED, "", 0), ERR_INVALID);
    assert_false(updates_ack(&u, b));
    assert_true(updates_ack(&u, a));
    assert_false(updates_ack(&u, a));
    assert_memory_equal(updates_head(&u)->status, "rb", 2);
    assert_false(updates_settled(&u));
    assert_true(updates_ack(&u, b));
    assert_true(updates_settled(&u));
    updates_done(&u);
}

static void a_full_update_queue_refuses(void **state) {
    (void)state;
    struct updates u;
    updates_init(&u);
    for (uint8_t i = 0; i < UPDATES_MAX; i++)
        assert_int_equal(updates_add(&u, (uint8_t[16]){i}, TASK_RUNNING, NULL, 0), 0);
    assert_int_equal(updates_add(&u, (uint8_t[16]){99}, TASK_RUNNING, NULL, 0), ERR_LIMIT);
    updates_done(&u);
}

static void hostile_ids_become_one_harmless_name(void **state) {
    (void)state;
    char name[TASK_NAME_MAX], other[TASK_NAME_MAX], big[256];
    task_id_encode("..", name);
    assert_string_equal(name, "%2E.");
    task_id_encode("a/../b\n", name);
    assert_string_equal(name, "a%2F..%2Fb%0A");
    task_id_encode("task-1.a_B", name);
    assert_string_equal(name, "task-1.a_B");
    memset(big, '~', 255);
    big[255] = '\0';
    task_id_encode(big, name);
    big[254] = '!';
    task_id_encode(big, other);
    assert_true(strlen(name) < 240);
    assert_string_not_equal(name, other);
    assert_false(task_id_valid(""));
    assert_false(task_id_valid(".."));
    assert_false(task_id_valid("a/b"));
    assert_false(task_id_valid("a\x7f"));
    assert_true(task_id_valid("caf\xc3\xa9"));
}

static void a_spec_survives_the_round_trip(void **state) {
    (void)state;
    struct spec *in = calloc(1, sizeof *in), *out = calloc(1, sizeof *out);
    struct err err = {0};
    in->file = "/bin/sh";
    in->args[in->arg_n++] = "sh";
    in->args[in->arg_n++] = "a=b\n\"";
    in->env[in->env_n++] = "X=1=2";
    in->uris[in->uri_n++] = (struct spec_uri){"/bin/true", "t", true};
    in->switch_user = true, in->uid = 7, in->gid = 8, in->groups[in->group_n++] = 9;
    in->mem_bytes = 1u << 30;
    struct buf b;
    buf_init(&b, SPEC_BYTES_MAX);
    assert_int_equal(spec_encode(in, &b, &err), 0);
    char *copy = malloc(b.len);
    for (size_t cut = 0; cut < b.len; cut++) { /* torn at each byte */
        memcpy(copy, b.data, b.len);
        memset(out, 0, sizeof *out);
        assert_int_not_equal(spec_decode(copy, cut, out, &err), 0);
    }
    memset(out, 0, sizeof *out);
    assert_int_equal(spec_decode(copy, b.len, out, &err), 0);
    assert_string_equal(out->args[1], "a=b\n\"");
    assert_null(out->args[2]);
    assert_string_equal(out->env[0], "X=1=2");
    assert_true(out->uris[0].executable && out->uid == 7 && out->groups[0] == 9 && out->mem_bytes == 1u << 30);
    free(copy);
    free(in);
    free(out);
    buf_done(&b);
}

static void an_exit_record_torn_at_any_byte_is_refused(void **state) {
    (void)state;
    struct exit_record in = {EXIT_NOT_RUN, 7, true, 12345, "cannot run \"x y\": no"}, out;
    uint8_t bytes[EXIT_RECORD_MAX];
    size_t len = exit_record_encode(&in, bytes);
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(exit_record_decode((char *)bytes, cut, &out, NULL), ERR_CORRUPT);
    assert_int_equal(exit_record_decode((char *)bytes, len, &out, NULL), 0);
    assert_string_equal(out.text, in.text);
    assert_true(out.oom && out.code == 7 && out.at_ms == 12345);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fence_below_the_highest_is_refused),
        cmocka_unit_test(another_cluster_is_a_stranger_at_any_term),
        cmocka_unit_test(a_fence_file_with_any_flipped_bit_is_refused),
        cmocka_unit_test(a_command_that_exits_0_is_running_then_finished),
        cmocka_unit_test(an_end_seen_before_the_start_reports_both_in_order),
        cmocka_unit_test(a_killed_command_is_killed_whatever_its_status),
        cmocka_unit_test(a_kill_before_the_start_ends_the_task_unstarted),
        cmocka_unit_test(each_way_to_fail_names_its_reason),
        cmocka_unit_test(nothing_happens_after_the_end),
        cmocka_unit_test(a_kill_escalates_after_its_grace_and_repeats),
        cmocka_unit_test(a_repeated_kill_may_only_shorten_the_grace),
        cmocka_unit_test(a_run_over_its_completion_time_is_ended),
        cmocka_unit_test(the_grace_is_the_orders_then_the_tasks_then_the_default),
        cmocka_unit_test(updates_go_out_in_order_and_only_the_head_is_acknowledged),
        cmocka_unit_test(a_full_update_queue_refuses),
        cmocka_unit_test(hostile_ids_become_one_harmless_name),
        cmocka_unit_test(a_spec_survives_the_round_trip),
        cmocka_unit_test(an_exit_record_torn_at_any_byte_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
