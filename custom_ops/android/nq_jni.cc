// The methods of org.nqtflite.Native: nq.h for Java. A failure is thrown as an NqException with the library's
// own message.
#include <jni.h>

#include <cstdint>
#include <iterator>
#include <string>

#include "nq.h"

extern "C" {
struct TfLiteDelegate;
TfLiteDelegate* tflite_plugin_create_delegate(char** options_keys, char** options_values, size_t num_options,
                                              void (*report_error)(const char*));
void tflite_plugin_destroy_delegate(TfLiteDelegate* delegate);
}

namespace {

constexpr int kMaxLevels = 8;

// Found once, when the library is loaded: a thread that native code has attached would not see the app's classes.
struct JavaClass {
  jclass type = nullptr;
  jmethodID constructor = nullptr;
};
JavaClass exception_class, switch_class;

bool find_class(JNIEnv* env, const char* name, const char* constructor, JavaClass* found) {
  const jclass local = env->FindClass(name);
  if (local == nullptr) return false;
  found->type = static_cast<jclass>(env->NewGlobalRef(local));
  found->constructor = env->GetMethodID(local, "<init>", constructor);
  env->DeleteLocalRef(local);
  return found->type != nullptr && found->constructor != nullptr;
}

// Names in a message are bytes of the model file, and Java's UTF-8 is not any bytes: what is not ASCII becomes '?'.
jstring java_text(JNIEnv* env, std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) > 0x7E) c = '?';
  }
  return env->NewStringUTF(text.c_str());
}

// True if the call has succeeded; otherwise Java throws when the native method returns.
bool check(JNIEnv* env, nq_status status) {
  if (status == NQ_OK) return true;
  const jstring message = java_text(env, nq_last_error());
  if (message == nullptr) return false;
  const jobject thrown =
      env->NewObject(exception_class.type, exception_class.constructor, static_cast<jint>(status), message);
  if (thrown != nullptr) env->Throw(static_cast<jthrowable>(thrown));
  return false;
}

nq_session session_of(jlong handle) { return static_cast<nq_session>(handle); }

std::string text_of(JNIEnv* env, jstring text) {
  const char* bytes = env->GetStringUTFChars(text, nullptr);
  if (bytes == nullptr) return {};
  std::string copy(bytes);
  env->ReleaseStringUTFChars(text, bytes);
  return copy;
}

jstring version(JNIEnv* env, jclass) { return env->NewStringUTF(nq_version()); }

jlong open_session(JNIEnv*, jclass) { return static_cast<jlong>(nq_session_open()); }

void close_session(JNIEnv*, jclass, jlong session) { nq_session_close(session_of(session)); }

jlong create_delegate(JNIEnv* env, jclass, jlong session, jstring precision, jstring fuse) {
  std::string handle = std::to_string(session), start = text_of(env, precision), fusing = text_of(env, fuse);
  if (env->ExceptionCheck()) return 0;
  char session_key[] = "session", precision_key[] = "precision", fuse_key[] = "fuse";
  char* keys[] = {session_key, precision_key, fuse_key};
  char* values[] = {handle.data(), start.data(), fusing.data()};
  TfLiteDelegate* delegate = tflite_plugin_create_delegate(keys, values, std::size(keys), nullptr);
  if (delegate == nullptr) check(env, NQ_INVALID_ARGUMENT);
  return reinterpret_cast<jlong>(delegate);
}

void destroy_delegate(JNIEnv*, jclass, jlong delegate) {
  tflite_plugin_destroy_delegate(reinterpret_cast<TfLiteDelegate*>(delegate));
}

jlong accelerator_handle(JNIEnv*, jclass) {
  return static_cast<jlong>(reinterpret_cast<intptr_t>(&LiteRtAcceleratorImpl));
}

void set_accelerator_options(JNIEnv* env, jclass, jlong session, jstring precision, jstring fuse, jstring num_threads) {
  const std::string handle = std::to_string(session), start = text_of(env, precision), fusing = text_of(env, fuse),
                    threads = text_of(env, num_threads);
  if (env->ExceptionCheck()) return;
  const char* keys[] = {"session", "precision", "fuse", "num_threads"};
  const char* values[] = {handle.c_str(), start.c_str(), fusing.c_str(), threads.c_str()};
  check(env, nq_accelerator_set_options(keys, values, std::size(keys)));
}

void clear_accelerator_options(JNIEnv* env, jclass) { check(env, nq_accelerator_set_options(nullptr, nullptr, 0)); }

jstring last_error(JNIEnv* env, jclass) { return java_text(env, nq_last_error()); }

jintArray precisions(JNIEnv* env, jclass, jlong session) {
  int32_t count = 0, bits[kMaxLevels] = {};
  if (!check(env, nq_session_levels(session_of(session), &count, bits, kMaxLevels))) return nullptr;
  const jintArray array = env->NewIntArray(count);
  if (array != nullptr) env->SetIntArrayRegion(array, 0, count, bits);
  return array;
}

jint get_level(JNIEnv* env, jclass, jlong session) {
  int32_t level = 0;
  check(env, nq_session_get_level(session_of(session), &level));
  return level;
}

jobject set_level(JNIEnv* env, jclass, jlong session, jint level, jboolean drop_page_cache) {
  int32_t count = 0, bits[kMaxLevels] = {};
  nq_switch_result done = {};
  const uint32_t flags = drop_page_cache == JNI_TRUE ? uint32_t{NQ_DROP_PAGE_CACHE} : 0;
  if (!check(env, nq_session_levels(session_of(session), &count, bits, kMaxLevels))) return nullptr;
  if (!check(env, nq_session_set_level(session_of(session), level, flags, &done))) return nullptr;
  return env->NewObject(switch_class.type, switch_class.constructor, bits[done.from_level], bits[done.to_level],
                        static_cast<jlong>(done.bytes_paged_in), static_cast<jlong>(done.bytes_paged_out), done.seconds,
                        static_cast<jboolean>(done.deferred != 0));
}

jlong level_bytes(JNIEnv* env, jclass, jlong session, jint level) {
  uint64_t size = 0;
  check(env, nq_session_memory(session_of(session), level, &size, nullptr, nullptr));
  return static_cast<jlong>(size);
}

jlong resident_bytes(JNIEnv* env, jclass, jlong session, jint level) {
  uint64_t resident = 0;
  check(env, nq_session_memory(session_of(session), level, nullptr, &resident, nullptr));
  return static_cast<jlong>(resident);
}

jboolean can_page(JNIEnv* env, jclass, jlong session) {
  int32_t pageable = 0;
  check(env, nq_session_memory(session_of(session), 0, nullptr, nullptr, &pageable));
  return static_cast<jboolean>(pageable != 0);
}

void invocation_failed(JNIEnv* env, jclass, jlong session) {
  check(env, nq_session_invocation_ended(session_of(session)));
}

template <typename Function>
JNINativeMethod method(const char* name, const char* signature, Function* function) {
  return {const_cast<char*>(name), const_cast<char*>(signature), reinterpret_cast<void*>(function)};
}

}  // namespace

extern "C" JNIEXPORT jint JNI_OnLoad(JavaVM* machine, void*) {
  void* found = nullptr;
  if (machine->GetEnv(&found, JNI_VERSION_1_6) != JNI_OK) return JNI_ERR;
  auto* env = static_cast<JNIEnv*>(found);
  if (!find_class(env, "org/nqtflite/NqException", "(ILjava/lang/String;)V", &exception_class)) return JNI_ERR;
  if (!find_class(env, "org/nqtflite/Switch", "(IIJJDZ)V", &switch_class)) return JNI_ERR;
  const JNINativeMethod methods[] = {
      method("version", "()Ljava/lang/String;", version),
      method("openSession", "()J", open_session),
      method("closeSession", "(J)V", close_session),
      method("createDelegate", "(JLjava/lang/String;Ljava/lang/String;)J", create_delegate),
      method("destroyDelegate", "(J)V", destroy_delegate),
      method("acceleratorHandle", "()J", accelerator_handle),
      method("setAcceleratorOptions", "(JLjava/lang/String;Ljava/lang/String;Ljava/lang/String;)V",
             set_accelerator_options),
      method("clearAcceleratorOptions", "()V", clear_accelerator_options),
      method("lastError", "()Ljava/lang/String;", last_error),
      method("precisions", "(J)[I", precisions),
      method("getLevel", "(J)I", get_level),
      method("setLevel", "(JIZ)Lorg/nqtflite/Switch;", set_level),
      method("levelBytes", "(JI)J", level_bytes),
      method("residentBytes", "(JI)J", resident_bytes),
      method("canPage", "(J)Z", can_page),
      method("invocationFailed", "(J)V", invocation_failed),
  };
  const jclass natives = env->FindClass("org/nqtflite/Native");
  if (natives == nullptr || env->RegisterNatives(natives, methods, static_cast<jint>(std::size(methods))) != JNI_OK) {
    return JNI_ERR;
  }
  return JNI_VERSION_1_6;
}
